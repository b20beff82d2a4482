"""Observes the body of a response while it is read, without changing it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Literal, Union

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

End = Literal["done", "broken", "left"]
"""How a body ended: read completely, the connection broke, or the reader stopped early."""


class WatchedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Passes a body through, and reports its chunks and its end.

    Args:
        stream: The body.
        note: Called with each chunk.
        end: Called once, with how the body ended.
    """

    def __init__(
        self,
        stream: Union[httpx.SyncByteStream, httpx.AsyncByteStream],
        note: Callable[[bytes], None],
        end: Callable[[End], None],
    ) -> None:
        self._stream: Any = stream
        self._note = note
        self._end = end
        self._has_ended = False

    def __iter__(self) -> Iterator[bytes]:
        with self._watching():
            for piece in self._stream:
                self._note(piece)
                yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._watching():
            async for piece in self._stream:
                self._note(piece)
                yield piece

    # The generators above may end only when they are garbage collected.
    def close(self) -> None:
        self._end_once("left")
        self._stream.close()

    async def aclose(self) -> None:
        self._end_once("left")
        await self._stream.aclose()

    @contextmanager
    def _watching(self) -> Generator[None, None, None]:
        end: End = "left"
        try:
            yield
            end = "done"
        except Exception:
            end = "broken"
            raise
        finally:
            self._end_once(end)

    def _end_once(self, end: End) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._end(end)
