"""`FakeHive`, the value of the fixture `fetch_hive`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._fake import Service, connect

if TYPE_CHECKING:
    from collections.abc import Generator

    from fetch_hive_sdk import FetchHive


class FakeHive(Service):
    """A fake service with a client for it: the value of the fixture `fetch_hive`.

    Example:
        ```python
        def test_summary(fetch_hive: FakeHive) -> None:
            fetch_hive.answers("summarise", "Short.")
            assert fetch_hive.client.invoke_prompt(deployment="summarise").response == "Short."
        ```
    """

    client: FetchHive
    """A client whose calls are answered in process, blocking and asyncio. There is nothing to close."""

    url: str
    """The URL of the same service on a loopback port. `FETCH_HIVE_BASE_URL` is set to it, so `FetchHive()` uses it."""

    @contextmanager
    def running(self) -> Generator[FakeHive, None, None]:
        """Serve on `url` until the block is left. The fixture does this for you."""
        with self.serve() as self.url:
            self.client = connect(self.handle, base_url=self.url)
            yield self
