"""What goes over the wire, as Pydantic models: a file a family. Import them from `fetch_hive_sdk` itself."""
