"""The catalogues of a fake service: error codes, models, search countries. Codes as in the API, texts of our own."""

from __future__ import annotations

from typing import Optional

# Code, status (None: not documented), meaning, advice.
_CODES: list[tuple[str, Optional[int], str, str]] = [
    ("model_deprecated", 422, "The model is no longer available.", "Choose another model."),
    ("personal_model_missing_credentials", 422, "Your own model has no credentials.", "Add them."),
    ("personal_model_invalid_credentials", 422, "The credentials of your own model are invalid.", "Renew them."),
    ("insufficient_hosted_llm_credits", 402, "The credits are used up.", "Buy credits."),
    ("account_credit_cap_reached", 422, "The account's cap on credits is reached.", "Raise the cap."),
    ("asset_storage_limit_reached", 402, "The asset storage is full.", "Delete assets or upgrade the plan."),
    ("vision_not_supported", 422, "The model cannot see images.", "Choose another model."),
    ("workflow_step_limit_reached", 402, "The plan allows no more steps.", "Upgrade the plan."),
    ("workspace_limit_reached", 402, "The plan allows no more workspaces.", "Upgrade the plan."),
    ("api_rate_limit_exceeded", 429, "The daily limit of API calls is reached.", "Wait until midnight UTC."),
    ("log_range_limit_exceeded", 402, "The plan does not keep logs for that long.", "Request a shorter range."),
    ("iteration_limit_exceeded", 422, "The run took too many iterations.", "Make the task smaller."),
    ("internal_server_error", 500, "The service failed.", "Try again later."),
    ("too_many_requests", 429, "There are too many concurrent calls.", "Try again later."),
    ("validation_error", None, "A value is invalid.", "Correct the request."),
    ("missing_required_field", 422, "A value is missing.", "Complete the request."),
    ("invalid_tool_approval", 400, "The tool approval mode is invalid.", "Correct the request."),
    ("tool_approval_override_not_permitted", 403, "The tool approval mode cannot be overridden.", "Leave it out."),
    (
        "tool_approval_mode_requires_dashboard",
        422,
        "This mode is set in the dashboard.",
        "Use the dashboard.",
    ),
]


def error_catalogue() -> dict[str, object]:
    """Return the answer of `GET /error_codes`, in English."""
    return {
        "locale": "en",
        "default_field": "error_code",
        "compatibility_aliases": ["code"],
        "codes": [_entry(*row) for row in _CODES],
    }


def _entry(code: str, status: Optional[int], message: str, action: str) -> dict[str, object]:
    known: dict[str, object] = {} if status is None else {"status": status}
    return {
        "code": code,
        **known,
        "field": "error_code",
        "field_aliases": ["code"],
        "category": "runtime",
        "message_key": f"{code}.message",
        "message": message,
        "client_action_key": f"{code}.action",
        "client_action": action,
    }


_COUNTRIES = [("Germany", "DE"), ("Spain", "ES"), ("United States", "US")]
_SERVICES = [
    ("google_search", "Google Search", "google_country", "alpha2"),
    ("google_news", "Google News", "google_country", "alpha2"),
    ("google_ai_mode", "Google AI Mode", "google_location_name", "country_name"),
    ("google_ai_overview", "Google AI Overview", "google_location_name", "country_name"),
    ("bing_search", "Bing Search", "bing_country", "alpha2"),
]


def search_services() -> list[dict[str, object]]:
    """Return the answer of `GET /public/search_services/countries`, with a few countries."""
    return [_service(*row) for row in _SERVICES]


def countries_of(service: str) -> Optional[dict[str, object]]:
    """Return the countries of a search service; None for an unknown service."""
    return next((found for found in search_services() if found["service"] == service), None)


def _service(service: str, name: str, value_field: str, value_format: str) -> dict[str, object]:
    countries = [
        {"country_name": country, "alpha2": code, "value": code if value_format == "alpha2" else country}
        for country, code in _COUNTRIES
    ]
    return {
        "service": service,
        "name": name,
        "country_value_field": value_field,
        "country_value_format": value_format,
        "countries": countries,
    }


def model_catalogue() -> list[dict[str, object]]:
    """Return the answer of `GET /public/models`, with two models."""
    return [_model("fake-model", "Fake model", is_image=False), _model("fake-painter", "Fake painter", is_image=True)]


def _model(model_id: str, name: str, *, is_image: bool) -> dict[str, object]:
    return {
        "id": model_id,
        "name": name,
        "slug": model_id,
        "provider": "fake",
        "provider_name": "Fake",
        "context_limit": 128_000,
        "model_type": "image_generation" if is_image else "llm",
        "is_image_generation": is_image,
        "is_vision": not is_image,
        "is_reasoning": not is_image,
        "is_tool_calling": not is_image,
        "is_json_schema": not is_image,
    }
