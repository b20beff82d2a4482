"""`fetch-hive api`: call any endpoint from the shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Callable

from ._calling import EXIT_CODES, add_options, call, pair, print_json, read_json, refuse, scalar

if TYPE_CHECKING:
    from fetch_hive_sdk import FetchHive

EPILOG = f"""\
examples:
  fetch-hive api GET /public/models
  fetch-hive api GET /error_codes -f locale=es
  fetch-hive api POST /prompt/invoke -f deployment=summarise -F streaming=false
  echo '{{"knowledge_base": {{"name": "Docs"}}}}' | \\
    fetch-hive api POST /public/workspaces/WORKSPACE/knowledge_bases --input -

Calls that may start a run are never repeated. The API key is read from FETCH_HIVE_API_KEY.

{EXIT_CODES}"""

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "api",
        help="call any endpoint",
        description="Call an endpoint, with the same key and retry rules as other calls; print its answer as JSON.",
        epilog=EPILOG,
    )
    parser.add_argument("method", type=str.upper, choices=_METHODS, metavar="METHOD", help=", ".join(_METHODS))
    parser.add_argument("path", metavar="ENDPOINT", help="the path below the base URL, such as /public/models")
    for flag, name, kind, text in (
        ("-f", "--raw-field", _text_field, "a string in the JSON body, or in the query of a GET; may be repeated"),
        ("-F", "--field", _typed_field, "the same, but numbers, true, false and null are parsed as JSON"),
    ):
        parser.add_argument(
            flag, name, type=kind, action="append", dest="fields", default=[], metavar="NAME=VALUE", help=text
        )
    parser.add_argument("--input", metavar="FILE", help="a file with the JSON body; - for stdin")
    add_options(parser, with_workspace=False)
    parser.set_defaults(run=run, parser=parser)


def _text_field(text: str) -> tuple[str, object]:
    return pair(text)


def _typed_field(text: str) -> tuple[str, object]:
    name, value = pair(text)
    return name, scalar(value)


def run(options: argparse.Namespace) -> int:
    """Make the call; return the exit code."""
    parser: argparse.ArgumentParser = options.parser
    fields: dict[str, object] = dict(options.fields)
    if options.input is not None and fields:
        parser.error("--input cannot be combined with -f or -F: it is the whole body")
    is_query = options.method == "GET"
    if options.input is not None and is_query:
        parser.error("--input cannot be used with GET, which has no body: pass its query with -f")
    try:
        body = fields if options.input is None else read_json(options.input)
    except argparse.ArgumentTypeError as exc:
        parser.error(str(exc))

    def work(client: FetchHive) -> int:
        query = fields if is_query else None
        answer = client.raw_request(options.method, options.path, json=None if is_query else body, query=query)
        if answer.json is not None:
            print_json(answer.json)
        return 0

    try:
        return call(options, work, as_json=False)
    except ValueError as exc:
        refuse(options, exc)
