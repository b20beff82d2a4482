"""The keys of `httpx.Request.extensions` that the network and the protocol share."""

PROXY = "fetch_hive_sdk.proxy"
"""The host and port of the proxy of the request, if there is one."""

STOP = "fetch_hive_sdk.stop"
"""A function that ends the call from another thread; for asyncio, a coroutine function that another task awaits."""
