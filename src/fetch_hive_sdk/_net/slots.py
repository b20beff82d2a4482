"""Which connection is free: a slot for each connection, for one call at a time. Does no I/O.

A pool of httpcore looks at every one of its connections for every request, under one lock. A slot for each connection
stays fast however many calls are under way, in threads and in asyncio: 64 at once cost a third of what they cost in
one pool. The connection used last is used first, so that the others can go idle and be closed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, Optional, TypeVar, Union
from weakref import WeakValueDictionary

from .transports import KEEPALIVE_SECONDS, AsyncTransport, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .proxies import Route

TransportT = TypeVar("TransportT", bound=Union[Transport, AsyncTransport])


class Slot(Generic[TransportT]):
    """A connection, for one call at a time."""

    def __init__(self, route: Route, transport: TransportT) -> None:
        self.route = route
        self.transport = transport
        self.is_used = True
        self.idle_since = 0.0


class Slots(Generic[TransportT]):
    """Knows which connection is free. Threads may share it.

    Its lock can be taken again by the thread that has it: the garbage collector may close a stream at any moment, and
    a signal's handler the client.

    A slot that is used belongs to its call alone: a signal's exception may come between any two steps of it, and a
    call that has lost hold of its slot can give nothing back. The connection is then closed with its last reference.
    """

    def __init__(self) -> None:
        self._slots: WeakValueDictionary[int, Slot[TransportT]] = WeakValueDictionary()
        self._free: dict[Route, deque[Slot[TransportT]]] = {}  # the ones used last at the end
        self._is_abandoned = False
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, route: Route) -> Optional[Slot[TransportT]]:
        """Reserve the free connection to this place that was used last, or return None if there is none."""
        with self._lock:
            free = self._free.get(route)
            if not free:
                return None
            slot = free.pop()
            slot.is_used = True
            return slot

    def add(self, route: Route, transport: TransportT) -> Slot[TransportT]:
        """Reserve a place for a new connection."""
        slot = Slot(route, transport)
        with self._lock:
            self._slots[id(slot)] = slot
            # A call that was about to connect when the client was closed.
            transport.backend.is_closed = self._is_abandoned
        return slot

    def give_back(self, slot: Slot[TransportT]) -> bool:
        """Let the next call have a connection; tell whether it may, or is to be closed."""
        with self._lock:
            slot.is_used = False
            slot.idle_since = time.monotonic()
            if id(slot) not in self._slots or self._is_abandoned:
                return False
            self._free.setdefault(slot.route, deque()).append(slot)
            return True

    def drop(self, slot: Slot[TransportT]) -> None:
        """Forget a connection, which is to be closed."""
        with self._lock:
            slot.is_used = False
            self._slots.pop(id(slot), None)

    def retire(self) -> list[TransportT]:
        """Forget the connections that have been idle for long enough, and return them to be closed."""
        last_call = time.monotonic() - KEEPALIVE_SECONDS
        if not any(free and free[0].idle_since < last_call for free in self._free.copy().values()):
            return []
        retired: list[Slot[TransportT]] = []
        with self._lock:
            for free in self._free.values():
                while free and free[0].idle_since < last_call:
                    retired.append(free.popleft())
            for slot in retired:
                self._slots.pop(id(slot), None)
        return [slot.transport for slot in retired]

    def all(self) -> Iterator[tuple[TransportT, bool]]:
        """Yield the connections and whether a call is under way on them, without the lock."""
        for reference in self._slots.valuerefs():
            slot = reference()
            if slot is not None:
                yield slot.transport, slot.is_used

    def abandon(self) -> list[tuple[TransportT, bool]]:
        """Forget all connections, and return them as `all` does."""
        with self._lock:
            self._is_abandoned = True
            found = list(self.all())
            self._slots.clear()
            self._free.clear()
            return found
