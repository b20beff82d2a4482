"""The network layer: connections, sockets, TLS and proxies. It does not depend on the API."""
