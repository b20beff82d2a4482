"""What the resources have in common: the session and the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fetch_hive_sdk._protocol.paths import segment
from fetch_hive_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from fetch_hive_sdk._session import Session


class Resource:
    """One family of calls, made with the settings and the connections of its client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._session.config.base_url}>"

    @property
    def _workspace(self) -> str:
        """The path of the workspace.

        Raises:
            ConfigurationError: The client does not know which one.

        """
        workspace_id = self._session.config.workspace_id
        if workspace_id is None:
            raise ConfigurationError("workspace_id is required: pass workspace_id=... or set FETCH_HIVE_WORKSPACE_ID")
        return f"/public/workspaces/{segment(workspace_id, 'workspace_id')}"
