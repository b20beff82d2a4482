"""The SDK's own connections for blocking calls, kept alive and reused. Does not depend on the API."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Optional, cast

import httpx

from fetch_hive_sdk._extensions import STOP

from .proxies import Routes
from .sending import explain, prepare
from .slots import Slot, Slots
from .transports import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .proxies import Route


class Connections:
    """Sends the requests of blocking calls, for a client and all clients derived from it by `with_options`."""

    owns_sockets = True

    def __init__(self) -> None:
        self._routes = Routes()
        self._process = 0
        self._lock = threading.RLock()
        self._slots: Slots[Transport] = Slots(Transport.close)
        self._finalizer: Optional[weakref.finalize[..., Connections]] = None

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response with its body unread."""
        if self._process != os.getpid():
            with self._lock:
                self._begin_process()
        slots = self._slots
        route = self._routes.find(request.url)
        prepare(request, route)
        slot = _take(slots, route)
        request.extensions[STOP] = slot.transport.backend.abort
        try:
            for transport in slots.retire():
                transport.close()
            response = slot.transport.handle_request(request)
        except BaseException as exc:
            _discard(slots, slot)
            error = explain(exc, slot.transport.backend, route)
            if error is exc:
                raise
            raise error from exc
        response.request = request
        if response.is_closed:  # a mock transport's response, already read
            _give_back(slots, slot)
        else:
            response.stream = _Body(cast("httpx.SyncByteStream", response.stream), slots, slot)
        return response

    def _begin_process(self) -> None:
        process = os.getpid()
        if self._process == process:  # another thread was first
            return
        if self._process and self._finalizer is not None:
            self._finalizer()
        self._slots = Slots(Transport.close)
        # Close sockets explicitly at interpreter exit, or when this object is deleted; do not rely on the collector.
        self._finalizer = weakref.finalize(self, _close_all, self._slots, process)
        self._process = process

    def close(self) -> None:
        """Close the connections and end the calls that use them. The next request opens new ones."""
        with self._lock:
            if self._finalizer is not None and self._process == os.getpid():
                self._finalizer.detach()
                self._process = 0
                abandoned = self._slots.abandon()
            else:
                abandoned = []
        for transport, is_used in abandoned:
            if is_used:
                transport.backend.abort()
            else:
                transport.close()


def _take(slots: Slots[Transport], route: Route) -> Slot[Transport]:
    while True:
        slot = slots.take(route)
        if slot is None:
            return slots.add(route, Transport(route))
        if slot.transport.is_usable():
            slot.transport.backend.has_sent = False
            return slot
        _discard(slots, slot)


def _give_back(slots: Slots[Transport], slot: Slot[Transport]) -> None:
    if not slot.transport.is_clean() or not slots.give_back(slot):
        _discard(slots, slot)


def _discard(slots: Slots[Transport], slot: Slot[Transport]) -> None:
    slots.drop(slot)
    slot.transport.close()


class _Body(httpx.SyncByteStream):
    """The body of a response. Closing it makes the connection available again, if it can be reused."""

    def __init__(self, stream: httpx.SyncByteStream, slots: Slots[Transport], slot: Slot[Transport]) -> None:
        self._stream = stream
        self._slots = slots
        self._slot: Optional[Slot[Transport]] = slot
        self._is_broken = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except BaseException:
            self._is_broken = True
            raise

    def close(self) -> None:
        slot, self._slot = self._slot, None
        if slot is None:
            return
        try:
            if not self._is_broken:
                self._stream.close()
        except BaseException:
            _discard(self._slots, slot)
            raise
        if self._is_broken:
            # A signal may have interrupted the read and left httpcore's objects locked.
            _discard(self._slots, slot)
        else:
            _give_back(self._slots, slot)


def _close_all(slots: Slots[Transport], process: int) -> None:
    # Takes no lock: in a forked child, a thread of the parent may have held it. The child closes its copies of the
    # sockets, which does not affect the parent. At interpreter exit a thread may still be reading: its connection stays
    # open, so that the thread does not raise an exception.
    is_child = process != os.getpid()
    for transport, is_used in slots.all():
        if is_child or not is_used:
            transport.close()
