"""What the fixture `fetch_hive` gives to a test."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._fake import Service, connect

if TYPE_CHECKING:
    from collections.abc import Generator

    from fetch_hive_sdk import FetchHive


class FakeHive(Service):
    """What the fixture `fetch_hive` gives to a test: a fake of the service, and a client of it.

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
    """The same service on a loopback port, for a `base_url`. The environment has it: `FetchHive()` goes there, too."""

    @contextmanager
    def running(self) -> Generator[FakeHive, None, None]:
        """Serve on `url` until the block is left. The fixture has done it."""
        with self.serve() as self.url:
            self.client = connect(self.handle, base_url=self.url)
            yield self
