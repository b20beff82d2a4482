"""Where requests go out: connections, sockets, TLS, proxies. Knows nothing of the API."""
