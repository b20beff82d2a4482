"""`fetch-hive requests`: what became of an earlier call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable

from ._calling import EXIT_CODES, add_options, call, print_json, refuse, seconds
from ._terminal import in_one_line, show

if TYPE_CHECKING:
    import argparse

    from fetch_hive_sdk import FetchHive, RequestRecord

EPILOG = f"""\
examples:
  fetch-hive requests get req_019d52846ea37682b03522fd0695cc43
  fetch-hive requests wait req_019d52846ea37682b03522fd0695cc43 --max-wait 60 --json

A run that failed is an answer like any other: read its status. Every look counts against the daily cap.

{EXIT_CODES}"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "requests",
        help="look up what became of an earlier call",
        description="Look up an earlier call by its request id.",
        epilog=EPILOG,
    )
    actions = parser.add_subparsers(title="what to do", metavar="ACTION", required=True, dest="action")
    for name, text in (("get", "look it up once"), ("wait", "look it up until it has ended")):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        action.add_argument("id", help="the request id, as in an answer or an error")
        action.add_argument("--json", action="store_true", help="print all that the service knows, as JSON")
        if name == "wait":
            action.add_argument(
                "--max-wait", type=seconds, default=600.0, metavar="SECONDS", help="how long to wait at most; 600"
            )
        add_options(action, with_workspace=False)
        action.set_defaults(run=run, parser=action)


def run(options: argparse.Namespace) -> int:
    """Look the call up; return the exit code."""

    def work(client: FetchHive) -> int:
        if options.action == "wait":
            _print(client.requests.wait(options.id, max_wait=options.max_wait), as_json=options.json)
        else:
            _print(client.requests.get(options.id), as_json=options.json)
        return 0

    try:
        return call(options, work, as_json=options.json)
    except ValueError as exc:
        refuse(options, exc)


def _print(record: RequestRecord, *, as_json: bool) -> None:
    if as_json:
        print_json(record.raw)
        return
    facts = {
        "request": record.request_id,
        "type": record.request_type,
        "status": record.status,
        "message": record.message,
        "started": record.started_at,
        "ended": record.ended_at,
    }
    for name, value in facts.items():
        if value is not None:
            print(f"{name:8} {show(in_one_line(value), sys.stdout)}")
