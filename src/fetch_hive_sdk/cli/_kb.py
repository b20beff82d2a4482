"""`fetch-hive kb`: list and search knowledge bases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable

from fetch_hive_sdk._text import in_one_line

from ._calling import EXIT_CODES, add_options, call, print_json, refuse
from ._terminal import show

if TYPE_CHECKING:
    import argparse

    from fetch_hive_sdk import FetchHive

EPILOG = f"""\
examples:
  fetch-hive kb list
  fetch-hive kb search KNOWLEDGE_BASE "refund window" --limit 5
  fetch-hive kb search KNOWLEDGE_BASE "refund window" --type full_text --json

Searches are billed, and never repeated.

{EXIT_CODES}"""

_TYPES = ["hybrid", "vector", "full_text"]


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "kb",
        help="list and search knowledge bases",
        description="List the knowledge bases of a workspace, or search one of them.",
        epilog=EPILOG,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="list knowledge bases", description="List the knowledge bases.")
    listing.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    listing.set_defaults(run=run_list, parser=listing)
    search = actions.add_parser("search", help="search a knowledge base", description="Search a knowledge base.")
    search.add_argument("id", help="the id of the knowledge base")
    search.add_argument("query", help="the search query")
    search.add_argument("--type", choices=_TYPES, default="hybrid", help="the type of search; default: hybrid")
    search.add_argument(
        "--limit", type=int, default=8, metavar="NUMBER", help="the maximum number of chunks, 1 to 20; default: 8"
    )
    search.add_argument(
        "--threshold", type=float, default=0.0, metavar="SCORE", help="the minimum score of a chunk, 0 to 1; default: 0"
    )
    search.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    search.set_defaults(run=run_search, parser=search)
    for action in (listing, search):
        add_options(action)


def run_list(options: argparse.Namespace) -> int:
    """List the knowledge bases; return the exit code."""

    def work(client: FetchHive) -> int:
        bases = client.knowledge_bases.list()
        if options.json:
            print_json([base.raw for base in bases])
            return 0
        for base in bases:
            items = "?" if base.data_item_count is None else base.data_item_count
            columns = (base.id, base.name or "", f"{items} items")
            print("\t".join(show(in_one_line(column), sys.stdout) for column in columns))
        return 0

    return call(options, work, as_json=options.json)


def run_search(options: argparse.Namespace) -> int:
    """Search a knowledge base; return the exit code."""

    def work(client: FetchHive) -> int:
        found = client.knowledge_bases.search(
            options.id,
            options.query,
            search_type=options.type,
            chunk_limit=options.limit,
            score_threshold=options.threshold,
        )
        # The API does not document the shape of the matches, so they are always printed as JSON.
        print_json(found.raw if options.json else found.response)
        return 0

    try:
        return call(options, work, as_json=options.json)
    except ValueError as exc:
        refuse(options, exc, names={"search_chunk_limit": "--limit", "search_score_threshold": "--threshold"})
