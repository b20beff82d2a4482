"""Connections of our own for the blocking shell, kept open and used again. Decides nothing about the API."""

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
    """Sends requests for the blocking shell, and for every client made by `with_options`."""

    owns_sockets = True

    def __init__(self) -> None:
        self._routes = Routes()
        self._process = 0
        self._lock = threading.RLock()
        self._slots: Slots[Transport] = Slots(Transport.close)
        self._end: Optional[weakref.finalize[..., Connections]] = None

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body unread."""
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
        if response.is_closed:  # a fake, which has its body already
            _give_back(slots, slot)
        else:
            response.stream = _Body(cast("httpx.SyncByteStream", response.stream), slots, slot)
        return response

    def _begin_process(self) -> None:
        process = os.getpid()
        if self._process == process:  # another thread was faster
            return
        if self._process and self._end is not None:
            self._end()
        self._slots = Slots(Transport.close)
        # At the end of the program, or with the last reference to this object: sockets are not left to the collector.
        self._end = weakref.finalize(self, _end, self._slots, process)
        self._process = process

    def close(self) -> None:
        """Close the connections, and end the calls under way on them. The next request opens new ones."""
        with self._lock:
            if self._end is not None and self._process == os.getpid():
                self._end.detach()
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
    """The body of a response; closing it gives the connection back if it can be used again."""

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
            # Perhaps by a signal, which may have left it locked.
            _discard(self._slots, slot)
        else:
            _give_back(self._slots, slot)


def _end(slots: Slots[Transport], process: int) -> None:
    # Asks for no lock: in a forked child, a thread of the parent may have held it. The child closes its copies of the
    # sockets, which the parent does not notice. At the end of the program a thread may still be reading: it goes with
    # the program, without an exception of its own.
    is_child = process != os.getpid()
    for transport, is_used in slots.all():
        if is_child or not is_used:
            transport.close()
