"""What to send and what to make of the answer. Decides everything, performs no I/O."""
