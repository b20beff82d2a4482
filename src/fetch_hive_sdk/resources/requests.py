"""The records of earlier calls: `client.requests`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from fetch_hive_sdk._protocol.answers import Answer, as_object, is_object, parse_object
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.paths import segment
from fetch_hive_sdk._protocol.waits import Wait
from fetch_hive_sdk.models.requests import RequestRecord, is_over

from ._base import Resource

if TYPE_CHECKING:
    from fetch_hive_sdk._config import Timeout
    from fetch_hive_sdk.models.sent import Id


class Requests(Resource):
    """The records of earlier calls, by request id."""

    def get(self, id: Id, *, timeout: Optional[Timeout] = None) -> RequestRecord:
        """Read the record of an earlier call.

        Args:
            id: The request id of the call: the `request_id` of its answer or error.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The service's record of the call.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._get(id), timeout=timeout)

    async def aget(self, id: Id, *, timeout: Optional[Timeout] = None) -> RequestRecord:
        """Read the record of an earlier call: the asyncio twin of `Requests.get`."""
        return await self._session.arun(self._get(id), timeout=timeout)

    def _get(self, id: Id) -> Endpoint[RequestRecord]:
        return Endpoint(f"/public/requests/{segment(id)}", _RECORD, "GET", Effect.READ, operation="requests.get")

    def wait(
        self,
        id: Id,
        *,
        max_wait: float = 600.0,
        first_wait: float = 2.0,
        longest_wait: float = 30.0,
        timeout: Optional[Timeout] = None,
    ) -> RequestRecord:
        """Wait until an earlier call has ended, successfully or not, such as a call whose answer was lost.

        Args:
            id: The request id of the call.
            max_wait: Maximum wait, in seconds. The last poll may take longer, up to its `timeout`.
            first_wait: Seconds between the first two polls. The interval doubles after each poll.
            longest_wait: Maximum interval between two polls, in seconds.
            timeout: Timeout for each poll, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The service's record of the call; its `status` shows how the call ended.

        Raises:
            WaitTimeoutError: The wait took longer than `max_wait`. `last` is the result of the last poll.
            RateLimitError: The daily limit has been reached. Every poll counts towards it.
            FetchHiveError: A poll failed: see `FetchHive.invoke_prompt`. Transient errors do not end the wait.

        """
        waits = _wait(id, max_wait, first_wait, longest_wait)
        return self._session.wait(lambda: self.get(id, timeout=timeout), waits)

    async def await_(
        self,
        id: Id,
        *,
        max_wait: float = 600.0,
        first_wait: float = 2.0,
        longest_wait: float = 30.0,
        timeout: Optional[Timeout] = None,
    ) -> RequestRecord:
        """Wait until a call has ended: the asyncio twin of `Requests.wait`."""
        waits = _wait(id, max_wait, first_wait, longest_wait)
        return await self._session.await_(lambda: self.aget(id, timeout=timeout), waits)


def _read_record(value: object) -> RequestRecord:
    # The API reference shows a flat object; a test in the vendor's package wraps it in `request`.
    inner = as_object(value).get("request")
    return parse_object(RequestRecord, inner if is_object(inner) else value)


_RECORD = Answer(_read_record)


def _wait(id: Id, max_wait: float, first_wait: float, longest_wait: float) -> Wait[RequestRecord]:
    return Wait(
        "the call",
        is_over,
        max_wait=max_wait,
        first_wait=first_wait,
        longest_wait=longest_wait,
        request_id=str(id),
    )
