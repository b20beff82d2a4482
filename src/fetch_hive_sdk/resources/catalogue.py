"""The models, search countries and error codes of the service: `client.catalogue`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, TypeVar, Union, overload

from fetch_hive_sdk._protocol.answers import Answer, many, one
from fetch_hive_sdk._protocol.endpoint import Effect, Endpoint
from fetch_hive_sdk._protocol.paths import query_of, segment
from fetch_hive_sdk.models.catalogue import ErrorCatalogue, Model, SearchServiceCountries

from ._base import Resource

if TYPE_CHECKING:
    from fetch_hive_sdk._config import Timeout

AnswerT = TypeVar("AnswerT")


class Catalogue(Resource):
    """The models, search countries and error codes of the service."""

    def models(self, *, timeout: Optional[Timeout] = None) -> list[Model]:
        """List the available models.

        Args:
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The models.

        Raises:
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._models(), timeout=timeout)

    async def amodels(self, *, timeout: Optional[Timeout] = None) -> list[Model]:
        """List the available models: the asyncio twin of `Catalogue.models`."""
        return await self._session.arun(self._models(), timeout=timeout)

    def _models(self) -> Endpoint[list[Model]]:
        return Endpoint("/public/models", many(Model), "GET", Effect.READ, operation="catalogue.models")

    @overload
    def countries(self, service: None = None, *, timeout: Optional[Timeout] = None) -> list[SearchServiceCountries]: ...

    @overload
    def countries(self, service: str, *, timeout: Optional[Timeout] = None) -> SearchServiceCountries: ...

    def countries(
        self, service: Optional[str] = None, *, timeout: Optional[Timeout] = None
    ) -> Union[list[SearchServiceCountries], SearchServiceCountries]:
        """List the countries that the search services support. The API key is not sent.

        Args:
            service: The search service, such as `google_search`; None lists all services.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The countries of the service; without `service`, a list with the countries of each service.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        if service is None:
            return self._session.run(self._all_countries(), timeout=timeout)
        return self._session.run(self._countries(service), timeout=timeout)

    @overload
    async def acountries(
        self, service: None = None, *, timeout: Optional[Timeout] = None
    ) -> list[SearchServiceCountries]: ...

    @overload
    async def acountries(self, service: str, *, timeout: Optional[Timeout] = None) -> SearchServiceCountries: ...

    async def acountries(
        self, service: Optional[str] = None, *, timeout: Optional[Timeout] = None
    ) -> Union[list[SearchServiceCountries], SearchServiceCountries]:
        """List the countries: the asyncio twin of `Catalogue.countries`."""
        if service is None:
            return await self._session.arun(self._all_countries(), timeout=timeout)
        return await self._session.arun(self._countries(service), timeout=timeout)

    def _all_countries(self) -> Endpoint[list[SearchServiceCountries]]:
        answer = many(SearchServiceCountries, under="services")
        return _countries_at("/public/search_services/countries", answer)

    def _countries(self, service: str) -> Endpoint[SearchServiceCountries]:
        path = f"/public/search_services/{segment(service, 'service')}/countries"
        return _countries_at(path, one(SearchServiceCountries))

    def error_codes(self, *, locale: Optional[str] = None, timeout: Optional[Timeout] = None) -> ErrorCatalogue:
        """Read the catalogue of error codes. The API key is not sent.

        Args:
            locale: The language of the descriptions, such as `es`; None means English.
            timeout: Timeout for this call, in seconds or as an `httpx.Timeout`; None uses the client's.

        Returns:
            The error codes.

        Raises:
            ValueError: An argument is invalid. Nothing has been sent.
            FetchHiveError: The call failed: see `FetchHive.invoke_prompt`.

        """
        return self._session.run(self._error_codes(locale=locale), timeout=timeout)

    async def aerror_codes(self, *, locale: Optional[str] = None, timeout: Optional[Timeout] = None) -> ErrorCatalogue:
        """Read the error codes: the asyncio twin of `Catalogue.error_codes`."""
        return await self._session.arun(self._error_codes(locale=locale), timeout=timeout)

    def _error_codes(self, *, locale: Optional[str]) -> Endpoint[ErrorCatalogue]:
        return Endpoint(
            "/error_codes",
            one(ErrorCatalogue),
            "GET",
            Effect.READ,
            operation="catalogue.error_codes",
            query=query_of({"locale": locale or None}),
            is_open=True,
        )


def _countries_at(path: str, answer: Answer[AnswerT]) -> Endpoint[AnswerT]:
    return Endpoint(path, answer, "GET", Effect.READ, operation="catalogue.countries", is_open=True)
