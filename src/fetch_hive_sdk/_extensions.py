"""What the network and the protocol say to each other: the names of a request's `extensions`, a word in an error."""

PROXY = "fetch_hive_sdk.proxy"
"""The host and port of the proxy that it goes through, if it does."""

STOP = "fetch_hive_sdk.stop"
"""A function that ends the call from another thread; for asyncio a coroutine function, for another task."""

CLOSED = "the client was closed"
"""What an error of the network says when the call was ended that way."""
