"""The rules of the API: how requests are built, answers parsed and failures retried. Performs no I/O."""
