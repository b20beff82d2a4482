"""Shows the version of the package at the bottom of every page of the site."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> None:
    """Write the footer. MkDocs calls this before it builds the pages."""
    file = Path(config.config_file_path).parent / "src/fetch_hive_sdk/_version.py"
    version = runpy.run_path(str(file))["__version__"]
    config.copyright = f"{config.site_name} {version}"
