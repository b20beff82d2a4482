"""Makes an example for a JSON schema: its own example, else its default, else the smallest value."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

Schema = dict[str, Any]

_FORMAT_EXAMPLES = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "binary": "",
}


class NoExampleError(ValueError):
    """The smallest value of a schema contains itself."""


def example_of(schema: Schema) -> object:
    """Return an example for a schema. It may be invalid, because patterns and Python validators are ignored.

    Raises:
        NoExampleError: The smallest value of the schema contains itself.

    """
    return _Examples(schema.get("$defs", {})).of(schema, ())


class _Examples:
    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def of(self, schema: Schema, within: tuple[str, ...]) -> object:
        """Return an example for a schema inside the definitions `within`."""
        for name in ("examples", "enum"):
            if schema.get(name):
                return cast("list[object]", schema[name])[0]
        for name in ("default", "const"):
            if name in schema:
                return cast("object", schema[name])
        if "$ref" in schema:
            reference = str(schema["$ref"]).rpartition("/")[2]
            if reference in within:
                raise NoExampleError(f"{reference} contains itself")
            return self.of(self._definitions[reference], (*within, reference))
        for name in ("anyOf", "oneOf", "allOf"):
            if schema.get(name):
                return self._first_of(schema[name], within)
        return self._smallest(schema, within)

    def _first_of(self, schemas: list[Schema], within: tuple[str, ...]) -> object:
        for schema in schemas[:-1]:
            with suppress(NoExampleError):
                return self.of(schema, within)
        return self.of(schemas[-1], within)

    def _smallest(self, schema: Schema, within: tuple[str, ...]) -> object:
        kind = schema.get("type")
        if kind == "object":
            properties: dict[str, Schema] = schema.get("properties", {})
            required: list[str] = schema.get("required", [])
            return {name: self.of(item, within) for name, item in properties.items() if name in required}
        if kind == "array":
            fixed = [self.of(item, within) for item in schema.get("prefixItems", [])]
            return fixed + [self.of(schema.get("items", {}), within)] * (schema.get("minItems", 0) - len(fixed))
        if kind == "string":
            return str(_FORMAT_EXAMPLES.get(schema.get("format", ""), "")).ljust(schema.get("minLength", 0), "x")
        if kind in {"integer", "number"}:
            return _smallest_number(schema)
        return False if kind == "boolean" else None


def _smallest_number(schema: Schema) -> object:
    step = schema.get("multipleOf", 1)
    lowest = -(-schema.get("minimum", 0) // step) * step
    if "exclusiveMinimum" in schema:
        lowest = (schema["exclusiveMinimum"] // step + 1) * step
    highest = schema.get("maximum", schema.get("exclusiveMaximum", lowest + 1) - 1)
    return min(lowest, highest)
