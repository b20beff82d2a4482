"""The log of a server's latest calls, and a feed of its changes. Knows no page and no sockets."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING, Optional, cast

from fetch_hive_sdk.testing._cassette import secrets_of
from fetch_hive_sdk.testing._json import read_json
from fetch_hive_sdk.testing._watch import WatchedBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fetch_hive_sdk.testing._server import Handler
    from fetch_hive_sdk.testing._watch import End

Record = dict[str, object]
"""A call: `id`, `at` (seconds since 1970), `path`, `request` and whether it `is_shortened`, `status`, `ms`, `body`;
`events`, each with `ms` and `data`, and the number of those not logged, `left_out`. `state` is "open", then "done",
"broken" (by the server) or "left" (by the client)."""

_MAX_CALLS = 500
"""Logged calls."""
_MAX_MESSAGES = 5000
"""Messages kept for followers. A follower that has missed more starts again with a snapshot."""
_MAX_SIZE = 65_536
"""Bytes of a request, an answer or an event. A longer one is shortened to these limits:"""
_MAX_TEXT = 2000
_MAX_ITEMS = 100
_MAX_EVENTS = 2000
"""Logged events of a call."""


class CallLog:
    """Logs the calls that a handler answers.

    Args:
        handler: Answers the calls.

    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._records: OrderedDict[int, Record] = OrderedDict()
        self._messages: deque[tuple[int, Record]] = deque(maxlen=_MAX_MESSAGES)
        self._last_message = 0
        self._last_id = 0
        self._changed = threading.Condition()
        self._closed = False

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request and log the call."""
        call = _Call(self, request)
        try:
            response = self._handler(request)
        except Exception:
            call.end("broken")
            raise
        if response.is_stream_consumed:
            call.note(response.content)
            call.end("done", status=response.status_code)
            return response
        call.begin_answer(response)
        response.stream = WatchedBody(response.stream, call.note, call.end)
        return response

    def add(self, record: Record) -> int:
        """Add a record; return its id."""
        with self._changed:
            self._last_id += 1
            record["id"] = self._last_id
            self._records[self._last_id] = record
            if len(self._records) > _MAX_CALLS:
                self._records.popitem(last=False)
            self._publish({"kind": "call", "call": {**record, "events": []}})
            return self._last_id

    def change(self, record: Record, **fields: object) -> None:
        """Change fields of a record."""
        with self._changed:
            record.update(fields)
            self._publish({"kind": "change", "id": record["id"], "facts": fields})

    def add_event(self, record: Record, event: Record) -> None:
        """Add an event to a record."""
        with self._changed:
            cast("list[Record]", record["events"]).append(event)
            self._publish({"kind": "event", "id": record["id"], "event": event})

    def _publish(self, message: Record) -> None:
        self._last_message += 1
        self._messages.append((self._last_message, message))
        self._changed.notify_all()

    def follow(self, timeout: float = 5.0) -> Iterator[Optional[Record]]:
        """Yield a snapshot of the log, then its changes, until the log is closed.

        Args:
            timeout: Seconds to wait for a change.

        Returns:
            Messages; None for each timeout.

        """
        seen = -1
        while True:
            with self._changed:
                self._wait_for_change(seen, timeout)
                if self._closed:
                    return
                messages, seen = self._since(seen), self._last_message
            if not messages:
                yield None
            yield from messages

    def _wait_for_change(self, seen: int, timeout: float) -> None:
        self._changed.wait_for(lambda: self._closed or self._last_message != seen, timeout)

    def _since(self, seen: int) -> list[Record]:
        oldest = self._messages[0][0] if self._messages else self._last_message + 1
        if seen < 0 or seen < oldest - 1:
            # Copies, because the records change while they are written to a follower.
            calls = [
                {**record, "events": list(cast("list[Record]", record["events"]))} for record in self._records.values()
            ]
            return [{"kind": "snapshot", "calls": calls}]
        return [message for number, message in self._messages if number > seen]

    def close(self) -> None:
        """End all followers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Call:
    """A call that is being logged."""

    def __init__(self, log: CallLog, request: httpx.Request) -> None:
        self._log = log
        self._begun = time.perf_counter()
        self._events = 0
        self._left_out = 0
        self._is_stream = False
        self._body = bytearray()
        self._secret = secrets_of(request)
        self.record: Record = {
            "at": time.time(),
            "method": request.method,
            "path": request.url.path,
            "request": self._read(request.read()),
            "is_shortened": len(request.content) > _MAX_SIZE,
            "status": None,
            "ms": None,
            "state": "open",
            "body": None,
            "events": [],
            "left_out": 0,
        }
        log.add(self.record)

    def begin_answer(self, response: httpx.Response) -> None:
        """Log the status of an answer before its body."""
        self._is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        self._log.change(self.record, status=response.status_code)

    def note(self, piece: bytes) -> None:
        """Log an event, or a part of an answer in one piece."""
        if not self._is_stream:
            self._body += piece
            return
        # Beyond the limit, events other than text are still logged: they are few, and show how the stream ended.
        self._events += 1
        if self._events > _MAX_EVENTS and (b'"response"' in piece or self._events > _MAX_EVENTS * 100):
            self._left_out += 1
            return
        data = piece.strip()
        data = data[len(b"data:") :].strip() if data.startswith(b"data:") else data
        self._log.add_event(self.record, {"ms": self._ms(), "data": self._read(data)})

    def end(self, state: End, *, status: Optional[int] = None) -> None:
        """Log how the answer ended."""
        status = cast("Optional[int]", self.record["status"]) if status is None else status
        fields = {"status": status, "state": state, "ms": self._ms(), "left_out": self._left_out}
        self._log.change(self.record, **fields, body=self._read(bytes(self._body)) if self._body else None)

    def _ms(self) -> float:
        return round((time.perf_counter() - self._begun) * 1000, 1)

    def _read(self, data: bytes) -> object:
        """Return parsed JSON, or else a string, with the API key masked."""
        try:
            # Strict, because browsers do not parse NaN.
            value: object = read_json(data)
        except ValueError:
            value = data.decode(errors="replace")
        value = self._secret.hide_in_value(value)
        return value if len(data) <= _MAX_SIZE else _shorten(value)


def _shorten(value: object) -> object:
    """Return the beginning of long strings, arrays and objects."""
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return f"{value[:_MAX_TEXT]}... ({len(value)} characters)"
    if isinstance(value, list):
        return [_shorten(item) for item in cast("list[object]", value)[:_MAX_ITEMS]]
    if isinstance(value, dict):
        items = islice(cast("dict[str, object]", value).items(), _MAX_ITEMS)
        return {name: _shorten(item) for name, item in items}
    return value
