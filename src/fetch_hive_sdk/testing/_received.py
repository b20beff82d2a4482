"""The requests that a fake service received, including fields unknown to this version."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from pydantic import ValidationError

from fetch_hive_sdk.models.sent import RunRequest

from ._json import read_json
from ._routes import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

RequestT = TypeVar("RequestT", bound=RunRequest)


class ReceivedRun(RunRequest, frozen=True):
    """A received request. `raw` includes fields unknown to this version, such as those from `extra_body`.

    Subclasses must repeat `extra="allow"`, because Pydantic takes the configuration of their last base.
    """

    @property
    def raw(self) -> dict[str, object]:
        return {**super().raw, **(self.model_extra or {})}

    # Assertion messages show the class that a test would use.
    def __repr_name__(self) -> str:
        return self._sent_as().__name__

    # Tests compare received requests with the ones they sent.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, self._sent_as()):
            return False
        # Clients add `streaming` to requests without such a field.
        added = {"streaming"} - self._sent_as().model_fields.keys()
        own, others = ({name: raw[name] for name in raw.keys() - added} for raw in (self.raw, other.raw))
        return own == others

    __hash__ = RunRequest.__hash__

    @classmethod
    def _sent_as(cls) -> type[RunRequest]:
        return cast("type[RunRequest]", cls.__mro__[2])


def read_object(request: httpx.Request) -> dict[str, object]:
    """Parse the body of a request as a JSON object.

    Raises:
        RefusedError: The body is not a JSON object.

    """
    try:
        value = read_json(request.read() or b"{}")
    except ValueError as exc:
        raise RefusedError(422, f"the body is not valid JSON: {exc}", "validation_error") from None
    if not isinstance(value, dict):
        raise RefusedError(422, "the body must be a JSON object", "validation_error")
    return cast("dict[str, object]", value)


def as_call(model: type[RequestT], fields: Mapping[str, object]) -> RequestT:
    """Validate the fields of a request.

    Raises:
        RefusedError: A field is missing or invalid.

    """
    try:
        return model.model_validate(fields)
    except ValidationError as exc:
        problem = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the body"
        code = "missing_required_field" if problem["type"] == "missing" else "validation_error"
        raise RefusedError(422, f"{where}: {problem['msg']}", code) from None
