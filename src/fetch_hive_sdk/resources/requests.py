"""What became of earlier calls: `client.requests`."""

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
    """What became of earlier calls, by their request ids."""

    def get(self, id: Id, *, timeout: Optional[Timeout] = None) -> RequestRecord:
        """Read what became of a call.

        Args:
            id: Its request id: every answer and every error has it as `request_id`.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.

        Returns:
            What the service knows of it.

        Raises:
            ValueError: An argument is refused before anything is sent.
            FetchHiveError: Whatever `FetchHive.invoke_prompt` raises.

        """
        return self._session.run(self._get(id), timeout=timeout)

    async def aget(self, id: Id, *, timeout: Optional[Timeout] = None) -> RequestRecord:
        """Read what became of a call: the asyncio twin of `Requests.get`."""
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
        """Wait until a call has ended, well or not, such as one whose answer was lost.

        Args:
            id: Its id.
            max_wait: Seconds to wait at most.
            first_wait: Seconds between the first two looks; they double from then on.
            longest_wait: Seconds between two looks at most.
            timeout: Seconds for each look, or an `httpx.Timeout`; None for the client's.

        Returns:
            What the service knows of it; its `status` says how it ended.

        Raises:
            WaitTimeoutError: It did not end in time. Its `last` is what the last look gave.
            RateLimitError: The daily cap is reached: every look counts.
            FetchHiveError: Whatever `FetchHive.invoke_prompt` raises, but for errors that pass while it waits.

        """
        waits = _wait(max_wait, first_wait, longest_wait)
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
        waits = _wait(max_wait, first_wait, longest_wait)
        return await self._session.await_(lambda: self.aget(id, timeout=timeout), waits)


def _read_record(value: object) -> RequestRecord:
    # The reference has it flat; a test of the vendor's package wraps it.
    inner = as_object(value).get("request")
    return parse_object(RequestRecord, inner if is_object(inner) else value)


_RECORD = Answer(_read_record)


def _wait(max_wait: float, first_wait: float, longest_wait: float) -> Wait[RequestRecord]:
    return Wait("the call", is_over, max_wait=max_wait, first_wait=first_wait, longest_wait=longest_wait)
