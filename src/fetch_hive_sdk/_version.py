"""The version: the only source for the package, its metadata and its User-Agent."""

__version__ = "1.1.0.dev0"
