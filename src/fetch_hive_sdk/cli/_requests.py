"""`fetch-hive requests`: looks up the status of an earlier call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable

from fetch_hive_sdk._text import in_one_line

from ._calling import EXIT_CODES, add_options, call, print_json, refuse, seconds
from ._terminal import show

if TYPE_CHECKING:
    import argparse

    from fetch_hive_sdk import FetchHive, RequestRecord

EPILOG = f"""\
examples:
  fetch-hive requests get req_019d52846ea37682b03522fd0695cc43
  fetch-hive requests wait req_019d52846ea37682b03522fd0695cc43 --max-wait 60 --json

A failed run is not an error of the command: check its status. Every lookup counts against the daily limit.

{EXIT_CODES}"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "requests",
        help="look up the status of an earlier call",
        description="Look up the status of an earlier call by its request id.",
        epilog=EPILOG,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    for name, text in (("get", "look up a call once"), ("wait", "wait until a call has ended")):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        action.add_argument("id", help="the request id, from an answer or an error")
        action.add_argument("--json", action="store_true", help="print the whole record as JSON")
        if name == "wait":
            action.add_argument(
                "--max-wait",
                type=seconds,
                default=600.0,
                metavar="SECONDS",
                help="the maximum time to wait; default: 600",
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
