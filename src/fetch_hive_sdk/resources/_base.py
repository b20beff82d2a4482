"""The base class of the resources: holds the session and builds the path of the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetch_hive_sdk._protocol.paths import segment
from fetch_hive_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from fetch_hive_sdk._session import Session


class Resource:
    """A group of calls that share the settings and connections of their client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._session.config.base_url}>"

    # Not a property: inspection, such as by mock.create_autospec, reads all properties.
    def _workspace_path(self) -> str:
        """Return the path of the workspace.

        Raises:
            ConfigurationError: The client has no `workspace_id`.

        """
        workspace_id = self._session.config.workspace_id
        if workspace_id is None:
            raise ConfigurationError("workspace_id is required: pass workspace_id=... or set FETCH_HIVE_WORKSPACE_ID")
        return f"/public/workspaces/{segment(workspace_id, 'workspace_id')}"
