"""What a request carries between the network and the protocol, by the names of its `extensions`."""

PROXY = "fetch_hive_sdk.proxy"
"""The host and port of the proxy that it goes through, if it does."""

STOP = "fetch_hive_sdk.stop"
"""A function that ends the call from another thread; for asyncio a coroutine function, for another task."""
