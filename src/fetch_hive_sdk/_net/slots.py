"""Keeps track of free connections: each has a slot, which one call uses at a time. Does no I/O.

An httpcore pool scans all of its connections for every request, under one lock. One slot per connection stays fast with
many concurrent calls, in threads and in asyncio: 64 concurrent calls take a third of the time they take in one pool.
The most recently used connection is reused first, so that the others can go idle and be closed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Callable, Generic, Optional, TypeVar, Union

from .transports import KEEPALIVE_SECONDS, AsyncTransport, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .proxies import Route

TransportT = TypeVar("TransportT", bound=Union[Transport, AsyncTransport])


class Slot(Generic[TransportT]):
    """A connection reserved for one call at a time. While a call uses the slot, only that call references it.

    A signal handler can raise between any two steps of a blocking call, before the call has given its slot back.
    Therefore deleting a slot that is in use closes its connection.
    """

    is_used = False  # until all other attributes are set

    def __init__(self, route: Route, transport: TransportT, lose: Optional[Callable[[Slot[TransportT]], None]]) -> None:
        self.route = route
        self.transport = transport
        self.idle_since = 0.0
        self._lose = lose
        self.is_used = True

    def __del__(self) -> None:
        if self.is_used and self._lose is not None:
            self._lose(self)


class Slots(Generic[TransportT]):
    """Keeps track of free connections. Threads may share it.

    Its lock is reentrant: the garbage collector can close a stream, and a signal handler the client, at any moment.

    Args:
        lose: Closes the connection of a slot that was deleted while in use. None means that slots are never lost, as
            in asyncio, where closing also needs the event loop.
    """

    def __init__(self, lose: Optional[Callable[[TransportT], None]] = None) -> None:
        self._transports: set[TransportT] = set()
        self._free: dict[Route, deque[Slot[TransportT]]] = {}  # most recently used last
        self._is_abandoned = False
        self._lock = threading.RLock()
        self._close = lose

    def __len__(self) -> int:
        return len(self._transports)

    def take(self, route: Route) -> Optional[Slot[TransportT]]:
        """Reserve the most recently used free connection of a route. Return None if there is none."""
        with self._lock:
            free = self._free.get(route)
            if not free:
                return None
            slot = free[-1]
            slot.is_used = True  # before it is removed: a signal could come in between
            free.pop()
            return slot

    def add(self, route: Route, transport: TransportT) -> Slot[TransportT]:
        """Reserve a slot for a new connection."""
        slot = Slot(route, transport, None if self._close is None else self._lose)
        with self._lock:
            self._transports.add(transport)
            # The client may have been closed just before this call connects.
            transport.backend.is_closed = self._is_abandoned
        return slot

    def give_back(self, slot: Slot[TransportT]) -> bool:
        """Make a connection available to the next call. Return False if the caller must close it instead."""
        with self._lock:
            slot.idle_since = time.monotonic()
            if slot.transport not in self._transports or self._is_abandoned:
                return False
            self._free.setdefault(slot.route, deque()).append(slot)
            slot.is_used = False
            return True

    def drop(self, slot: Slot[TransportT]) -> None:
        """Remove a connection that the caller is about to close."""
        with self._lock:
            self._transports.discard(slot.transport)

    def retire(self) -> list[TransportT]:
        """Remove the connections that have exceeded the idle limit, and return them to be closed."""
        last_call = time.monotonic() - KEEPALIVE_SECONDS
        if not any(free and free[0].idle_since < last_call for free in self._free.copy().values()):
            return []
        retired: list[TransportT] = []
        with self._lock:
            for free in self._free.values():
                while free and free[0].idle_since < last_call:
                    retired.append(free.popleft().transport)
            self._transports.difference_update(retired)
        return retired

    def all(self) -> Iterator[tuple[TransportT, bool]]:
        """Yield each connection and whether a call is using it, without taking the lock."""
        free = {slot.transport for slots in list(self._free.values()) for slot in list(slots)}
        for transport in list(self._transports):
            yield transport, transport not in free

    def abandon(self) -> list[tuple[TransportT, bool]]:
        """Remove all connections, and return them as `all` does."""
        with self._lock:
            self._is_abandoned = True
            found = list(self.all())
            self._transports.clear()
            self._free.clear()
            return found

    def _lose(self, slot: Slot[TransportT]) -> None:
        self.drop(slot)
        if self._close is not None:
            self._close(slot.transport)
