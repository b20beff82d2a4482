"""The requests, answers and events of the API as Pydantic models. Import them from `fetch_hive_sdk` itself."""
