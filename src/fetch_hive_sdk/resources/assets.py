"""The files of a workspace: `client.assets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from fetch_hive_sdk._protocol.answers import many, one
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk.models.agents import Asset

from ._base import Resource
from ._uploads import multipart

if TYPE_CHECKING:
    import builtins

    from fetch_hive_sdk._config import Timeout
    from fetch_hive_sdk._protocol.requests import Body

    from ._uploads import File, Progress


class Assets(Resource):
    """The files of the workspace."""

    def list(self, *, timeout: Optional[Timeout] = None) -> builtins.list[Asset]:
        """List the files of the workspace.

        Args:
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.

        Returns:
            All of them: no paging is documented. `file_url` can be fetched without the API key, for a while.

        Raises:
            FetchHiveError: Whatever `FetchHive.invoke_prompt` raises.

        """
        return self._session.run(self._list(), timeout=timeout)

    async def alist(self, *, timeout: Optional[Timeout] = None) -> builtins.list[Asset]:
        """List the files of the workspace: the asyncio twin of `Assets.list`."""
        return await self._session.arun(self._list(), timeout=timeout)

    def _list(self) -> Endpoint[builtins.list[Asset]]:
        path = f"{self._workspace}/assets"
        return Endpoint(path, many(Asset, under="assets"), "GET", Effect.READ, operation="assets.list")

    def upload(
        self,
        file: File,
        *,
        file_name: Optional[str] = None,
        content_type: Optional[str] = None,
        part_name: str = "file",
        progress: Optional[Progress] = None,
        timeout: Optional[Timeout] = None,
    ) -> Asset:
        """Upload a file. It is read while it is sent, and not kept in memory.

        The API does not document the name of the form's part: `file` is a guess, which `part_name` replaces.

        Args:
            file: A path, bytes, a file opened in binary mode (read from where it stands), or a pair of a name and
                bytes or an open file. Your own open file stays open.
            file_name: The name that the service shows; None for the file's own.
            content_type: The media type; None to tell it by the name.
            part_name: The name of the form's part.
            progress: Called with the bytes of the file that were sent and those that there are, while it is sent.
            timeout: Seconds for this call, or an `httpx.Timeout`; None for the client's.

        Returns:
            The new asset: pass it to an agent in `attachments`, or its `id` to a knowledge base's item.

        Raises:
            ValueError: An argument is refused before anything is sent.
            OSError: The file cannot be read.
            FetchHiveError: Whatever `FetchHive.invoke_prompt` raises.

        """
        return self._session.run(*self._upload(file, file_name, content_type, part_name, progress), timeout=timeout)

    async def aupload(
        self,
        file: File,
        *,
        file_name: Optional[str] = None,
        content_type: Optional[str] = None,
        part_name: str = "file",
        progress: Optional[Progress] = None,
        timeout: Optional[Timeout] = None,
    ) -> Asset:
        """Upload a file: the asyncio twin of `Assets.upload`. The file is read in a thread, piece by piece."""
        return await self._session.arun(
            *self._upload(file, file_name, content_type, part_name, progress), timeout=timeout
        )

    def _upload(
        self,
        file: File,
        file_name: Optional[str],
        content_type: Optional[str],
        part_name: str,
        progress: Optional[Progress],
    ) -> tuple[Endpoint[Asset], Body]:
        path = f"{self._workspace}/assets"
        endpoint = Endpoint(path, one(Asset, under="asset"), "POST", Effect.CREATE, operation="assets.upload")
        return endpoint, multipart(file, file_name, content_type, part_name, progress)
