"""The version, in the one place that the package, its metadata and its User-Agent read it from."""

__version__ = "1.1.0.dev0"
