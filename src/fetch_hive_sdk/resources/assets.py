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
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The complete list: the API documents no paging. `file_url` can be fetched without the API key until it
            expires.

        Raises:
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._list(), timeout=timeout)

    async def alist(self, *, timeout: Optional[Timeout] = None) -> builtins.list[Asset]:
        """List the files of the workspace: the asyncio twin of `Assets.list`."""
        return await self._session.arun(self._list(), timeout=timeout)

    def _list(self) -> Endpoint[builtins.list[Asset]]:
        path = f"{self._workspace_path()}/assets"
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
        """Upload a file. It is read while it is sent and never held in memory as a whole.

        The API does not document the name of the form field. `file` is a guess; `part_name` overrides it.

        Args:
            file: A path, bytes, a file opened in binary mode (read from its current position), or a tuple of a name and
                bytes or an open file. A file that you opened is not closed.
            file_name: The name that the service shows; None uses the file's own name.
            content_type: The media type; None guesses it from the name.
            part_name: The name of the form field.
            progress: Called during the upload with the number of bytes sent and the size of the file.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The new asset: pass it to an agent in `attachments`, or its `id` to an item of a knowledge base.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            OSError: The file cannot be read.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

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
        """Upload a file: the asyncio twin of `Assets.upload`. The file is read in chunks in a thread."""
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
        path = f"{self._workspace_path()}/assets"
        endpoint = Endpoint(path, one(Asset, under="asset"), "POST", Effect.CREATE, operation="assets.upload")
        return endpoint, multipart(file, file_name, content_type, part_name, progress)
