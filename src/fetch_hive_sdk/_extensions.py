"""What the network and the protocol share: the keys of `httpx.Request.extensions`, and error messages."""

OURS = "fetch_hive_sdk.ours"
"""Marks the requests of this package, whatever their `User-Agent`."""

PROXY = "fetch_hive_sdk.proxy"
"""The host and port of the proxy of the request, if there is one."""

STOP = "fetch_hive_sdk.stop"
"""A function that ends the call from another thread; for asyncio, a coroutine function that another task awaits."""

CLOSED = "the client was closed"
"""The message of the network error of a call that ended because its client was closed."""

HOOK_RAISED = "an event hook raised"
"""How the message of a network error begins that replaces the error of an injected client's event hook."""
