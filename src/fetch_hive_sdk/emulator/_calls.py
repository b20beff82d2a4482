"""The latest calls of a server, written down as they come, and the news of them. Knows no page and no socket."""

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
"""A call: `id`, `at` (seconds since 1970), `path`, `request` and whether it `is_shortened`, `status`, `ms`, `body`; its
`events`, each with its `ms` and its `data`, and how many more there were, `left_out`. `state` is "open", then "done",
"broken" by the server, or "left" by the client."""

_SIZE = 500
"""Calls that are kept."""
_NEWS = 5000
"""News that are kept; who missed more than these begins anew."""
_LONGEST = 65_536
"""Bytes of a request, an answer or an event that are kept as they are. Of what is longer, this is kept:"""
_LONGEST_TEXT = 2000
_MOST_ITEMS = 100
_MOST_EVENTS = 2000
"""Events of a call that are kept."""


class CallLog:
    """Lets a handler answer, and writes down what goes by.

    Args:
        handler: Who answers.

    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._records: OrderedDict[int, Record] = OrderedDict()
        self._news: deque[tuple[int, Record]] = deque(maxlen=_NEWS)
        self._number = 0
        self._last_id = 0
        self._changed = threading.Condition()
        self._closed = False

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, and write it down."""
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
        """Take a new record in; return its id."""
        with self._changed:
            self._last_id += 1
            record["id"] = self._last_id
            self._records[self._last_id] = record
            if len(self._records) > _SIZE:
                self._records.popitem(last=False)
            self._tell({"kind": "call", "call": {**record, "events": []}})
            return self._last_id

    def change(self, record: Record, **facts: object) -> None:
        """Change facts of a record."""
        with self._changed:
            record.update(facts)
            self._tell({"kind": "change", "id": record["id"], "facts": facts})

    def add_event(self, record: Record, event: Record) -> None:
        """Add an event to a record."""
        with self._changed:
            cast("list[Record]", record["events"]).append(event)
            self._tell({"kind": "event", "id": record["id"], "event": event})

    def _tell(self, message: Record) -> None:
        self._number += 1
        self._news.append((self._number, message))
        self._changed.notify_all()

    def follow(self, patience: float = 5.0) -> Iterator[Optional[Record]]:
        """Yield all that there is, then what is new, until the log is closed.

        Args:
            patience: Seconds to wait for news.

        Returns:
            Messages; None each time when no news came in so many seconds.

        """
        seen = -1
        while True:
            with self._changed:
                self._wait_for_news(seen, patience)
                if self._closed:
                    return
                messages, seen = self._since(seen), self._number
            if not messages:
                yield None
            yield from messages

    def _wait_for_news(self, seen: int, patience: float) -> None:
        self._changed.wait_for(lambda: self._closed or self._number != seen, patience)

    def _since(self, seen: int) -> list[Record]:
        oldest = self._news[0][0] if self._news else self._number + 1
        if seen < 0 or seen < oldest - 1:
            # Copied: the records go on changing while this is being written.
            calls = [
                {**record, "events": list(cast("list[Record]", record["events"]))} for record in self._records.values()
            ]
            return [{"kind": "snapshot", "calls": calls}]
        return [message for number, message in self._news if number > seen]

    def close(self) -> None:
        """Let those go who follow."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Call:
    """One call, from its request to its end."""

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
            "is_shortened": len(request.content) > _LONGEST,
            "status": None,
            "ms": None,
            "state": "open",
            "body": None,
            "events": [],
            "left_out": 0,
        }
        log.add(self.record)

    def begin_answer(self, response: httpx.Response) -> None:
        """Write down the status of an answer whose body is still to come."""
        self._is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        self._log.change(self.record, status=response.status_code)

    def note(self, piece: bytes) -> None:
        """Write down an event, or part of an answer in one piece."""
        if not self._is_stream:
            self._body += piece
            return
        # A stream has few last words, and they say how it ended: they are kept beyond the bound.
        self._events += 1
        if self._events > _MOST_EVENTS and (b'"response"' in piece or self._events > _MOST_EVENTS * 100):
            self._left_out += 1
            return
        data = piece.strip()
        data = data[len(b"data:") :].strip() if data.startswith(b"data:") else data
        self._log.add_event(self.record, {"ms": self._ms(), "data": self._read(data)})

    def end(self, state: End, *, status: Optional[int] = None) -> None:
        """Write down how the answer ended."""
        status = cast("Optional[int]", self.record["status"]) if status is None else status
        facts = {"status": status, "state": state, "ms": self._ms(), "left_out": self._left_out}
        self._log.change(self.record, **facts, body=self._read(bytes(self._body)) if self._body else None)

    def _ms(self) -> float:
        return round((time.perf_counter() - self._begun) * 1000, 1)

    def _read(self, data: bytes) -> object:
        """Return JSON as its value, anything else as text, both with the key masked."""
        try:
            # Strictly: the page reads JSON as browsers do, which know no NaN.
            value: object = read_json(data)
        except ValueError:
            value = data.decode(errors="replace")
        value = self._secret.hide_in_value(value)
        return value if len(data) <= _LONGEST else _shorten(value)


def _shorten(value: object) -> object:
    """Leave of long texts, and of long arrays and objects, the beginning."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]}... ({len(value)} characters)"
    if isinstance(value, list):
        return [_shorten(item) for item in cast("list[object]", value)[:_MOST_ITEMS]]
    if isinstance(value, dict):
        items = islice(cast("dict[str, object]", value).items(), _MOST_ITEMS)
        return {name: _shorten(item) for name, item in items}
    return value
