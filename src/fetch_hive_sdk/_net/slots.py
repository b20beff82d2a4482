"""Which connection is free: a slot for each connection, for one call at a time. Does no I/O.

A pool of httpcore looks at every one of its connections for every request, under one lock. A slot for each connection
stays fast however many calls are under way, in threads and in asyncio: 64 at once cost a third of what they cost in
one pool. The connection used last is used first, so that the others can go idle and be closed.
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
    """A connection, for one call at a time, which alone refers to the slot while it is used.

    A signal's exception may come between any two steps of a blocking call, and a call that has lost its slot can give
    nothing back. Therefore the end of a used slot ends its connection.
    """

    is_used = False  # until all the others are set

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
    """Knows which connection is free. Threads may share it.

    Its lock can be taken again by the thread that has it: the garbage collector may close a stream at any moment, and
    a signal's handler the client.

    Args:
        lose: Closes the connection of a slot that was lost. In asyncio none is, and closing takes an event loop.
    """

    def __init__(self, lose: Optional[Callable[[TransportT], None]] = None) -> None:
        self._transports: set[TransportT] = set()
        self._free: dict[Route, deque[Slot[TransportT]]] = {}  # the ones used last at the end
        self._is_abandoned = False
        self._lock = threading.RLock()
        self._close = lose

    def __len__(self) -> int:
        return len(self._transports)

    def take(self, route: Route) -> Optional[Slot[TransportT]]:
        """Reserve the free connection to this place that was used last, or return None if there is none."""
        with self._lock:
            free = self._free.get(route)
            if not free:
                return None
            slot = free[-1]
            slot.is_used = True  # before it is taken, or a signal could lose it
            free.pop()
            return slot

    def add(self, route: Route, transport: TransportT) -> Slot[TransportT]:
        """Reserve a place for a new connection."""
        slot = Slot(route, transport, None if self._close is None else self._lose)
        with self._lock:
            self._transports.add(transport)
            # A call that was about to connect when the client was closed.
            transport.backend.is_closed = self._is_abandoned
        return slot

    def give_back(self, slot: Slot[TransportT]) -> bool:
        """Let the next call have a connection; tell whether it may, or is to be closed."""
        with self._lock:
            slot.idle_since = time.monotonic()
            if slot.transport not in self._transports or self._is_abandoned:
                return False
            self._free.setdefault(slot.route, deque()).append(slot)
            slot.is_used = False
            return True

    def drop(self, slot: Slot[TransportT]) -> None:
        """Forget a connection, which is to be closed."""
        with self._lock:
            self._transports.discard(slot.transport)

    def retire(self) -> list[TransportT]:
        """Forget the connections that have been idle for long enough, and return them to be closed."""
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
        """Yield the connections and whether a call is under way on them, without the lock."""
        free = {slot.transport for slots in list(self._free.values()) for slot in list(slots)}
        for transport in list(self._transports):
            yield transport, transport not in free

    def abandon(self) -> list[tuple[TransportT, bool]]:
        """Forget all connections, and return them as `all` does."""
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
