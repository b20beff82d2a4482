"""The scenarios, the clients and the targets. Only data; `run.py` does the measuring."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional


@dataclass(frozen=True)
class Client:
    """A client to measure."""

    title: str
    imports: str
    on_httpx: bool = True
    """Whether it is built on httpx, so that reading with httpx alone is the lower bound for its streams."""


MODEL = "class Model(BaseModel):\n    text: str\n    count: int"

# The names are those of the files in `clients/`.
CLIENTS = {
    "ours": Client("this package", "from fetch_hive_sdk import FetchHive"),
    "ours_raw": Client("this package, `.raw` read", ""),
    "ours_with_loop": Client("this package, `.raw` not read", ""),
    "vendor": Client("the vendor's 0.4.1", "from fetch_hive_sdk import FetchHive"),
    "with_openai": Client("openai", "from openai import OpenAI", on_httpx=False),
    "with_anthropic": Client("anthropic", "from anthropic import Anthropic", on_httpx=False),
    "plain_httpx": Client("httpx and json.loads", "import httpx"),
    "sharded_httpx": Client("64 httpx clients of 4 connections", ""),
    "raw_httpx": Client("httpx, nothing decoded", ""),
    "with_aiohttp": Client("aiohttp and json.loads", "import aiohttp", on_httpx=False),
    "floor": Client("httpx and one Pydantic model", f"import httpx\nfrom pydantic import BaseModel\n{MODEL}"),
}

# Clients that share the environment of another one.
ENVIRONMENT_OF = {"floor": "ours"}


@dataclass(frozen=True)
class Scenario:
    """One measurement, made for several clients in turn."""

    name: str
    group: str
    do: str
    """A command of `worker.py`, or `import`."""
    clients: tuple[str, ...]
    answer: str = "wait=0"
    """How the service answers; see `server.py`."""
    options: dict[str, Any] = field(default_factory=dict)
    """The arguments of the command."""
    fewer: dict[str, int] = field(default_factory=dict)
    """A smaller `count` for clients that would otherwise take minutes."""
    rounds: int = 7
    scheme: str = "http"
    rival: str = "plain_httpx"
    is_fresh: bool = False
    """Whether each measurement runs in a new process."""
    is_reopened: bool = False
    """Whether each measurement starts without open connections."""
    is_long: bool = False
    """Whether `--quick` skips it."""


def scenarios() -> list[Scenario]:
    """Return all scenarios in the order in which they are run."""
    families = (_starts, _calls, _at_once, _streams, _raw, _reuse, _first_events, _long_events, _memory)
    return [scenario for family in families for scenario in family()]


def _starts() -> list[Scenario]:
    importing = ("ours", "vendor", "with_openai", "with_anthropic", "plain_httpx", "with_aiohttp", "floor")
    making = ("ours", "vendor", "with_openai", "with_anthropic", "plain_httpx")
    return [
        Scenario("import", "import", "import", importing, rival="floor"),
        Scenario("another client", "client", "clients", making, scheme="https", is_fresh=True, rounds=7),
    ]


def _calls() -> list[Scenario]:
    blocking = ("ours", "vendor", "with_openai", "with_anthropic", "plain_httpx")
    asyncio = ("ours", "with_openai", "with_anthropic", "plain_httpx", "with_aiohttp")
    found = []
    for scheme, suffix in (("http", ""), ("https", ", TLS")):
        one = {"group": "call", "do": "calls", "scheme": scheme}
        found += [
            Scenario(f"a call{suffix}", **one, clients=blocking, options={"count": 200}, fewer={"vendor": 8}),
            Scenario(f"a call, asyncio{suffix}", **one, clients=asyncio, options={"count": 200, "is_asyncio": True}),
        ]
    return found


# The combinations that have a target: number of simultaneous calls, whether asyncio, server time.
TARGETED = {(64, False, 0), (64, True, 0), (256, True, 0.5)}


def _at_once() -> list[Scenario]:
    found = []
    for is_asyncio in (False, True):
        for wait, many in ((0, (8, 64, 256, 1000)), (0.2, (8, 64, 256, 1000)), (0.5, (256,))):
            found += [_so_many(count, wait, is_asyncio=is_asyncio) for count in many]
    return found


def _so_many(count: int, wait: float, *, is_asyncio: bool) -> Scenario:
    few = count <= 64
    clients = ["ours", "plain_httpx"]
    clients += ["sharded_httpx"] if count >= 64 else []  # with fewer, most of its clients would be new
    clients += ["with_aiohttp"] if is_asyncio else []
    clients += ["with_openai", "with_anthropic"] if few else []
    how = "asyncio" if is_asyncio else "threads"
    return Scenario(
        f"{count:,} calls at once, {how}" + (f", {wait} s of server time" if wait else ""),
        group="once",
        do="at_once",
        clients=tuple(clients),
        answer=f"wait={wait}",
        options={"count": count, "is_asyncio": is_asyncio},
        rounds=7 if few else 3,
        is_long=(count, is_asyncio, wait) not in TARGETED,
    )


def _streams() -> list[Scenario]:
    return [
        _stream(events, per_chunk, is_asyncio=is_asyncio)
        for events in (100, 10_000, 100_000)
        for per_chunk in (1, 64)
        for is_asyncio in (False, True)
    ]


def _stream(events: int, per_chunk: int, *, is_asyncio: bool) -> Scenario:
    clients = ["ours", "vendor", "with_anthropic", "plain_httpx", "raw_httpx"]
    clients += ["with_aiohttp"] if is_asyncio else []
    clients += ["with_openai"] if events < 100_000 else []  # it would take ten seconds
    return Scenario(
        f"a stream of {events:,} events, {per_chunk} per chunk" + (", asyncio" if is_asyncio else ""),
        group="stream",
        do="streams",
        clients=tuple(clients),
        answer=f"events={events},per_chunk={per_chunk}",
        options={"events": events, "count": 10 if events == 100 else 1, "is_asyncio": is_asyncio},
        rounds=3 if events == 100_000 else 7,
        is_long=events != 10_000,
    )


def _raw() -> list[Scenario]:
    return [
        Scenario(
            "reading .raw of 10,000 events",
            group="stream",
            do="streams",
            clients=("ours_raw", "ours_with_loop"),
            answer="events=10000,per_chunk=64",
            options={"events": 10_000},
            rival="ours_with_loop",
        )
    ]


def _reuse() -> list[Scenario]:
    return [
        Scenario(
            f"ten streams in a row{how}",
            group="reuse",
            do="streams",
            clients=("ours", "vendor", "with_openai", "with_anthropic", "plain_httpx"),
            answer="events=100",
            options={"events": 100, "count": 10, "is_asyncio": bool(how)},
            rounds=3,
            is_reopened=True,
        )
        for how in ("", ", asyncio")
    ]


def _first_events() -> list[Scenario]:
    return [
        Scenario(
            f"the first event{how}",
            group="first",
            do="first_event",
            clients=("ours", "vendor", "with_openai", "with_anthropic", "plain_httpx"),
            answer="events=100,first=1",
            options={"count": 15, "is_asyncio": bool(how)},
            fewer={"vendor": 5},
        )
        for how in ("", ", asyncio")
    ]


def _long_events() -> list[Scenario]:
    clients = ("ours", "vendor", "with_openai", "with_anthropic", "plain_httpx", "raw_httpx")
    found = []
    for megabytes in (1, 4):
        size = megabytes * 1_000_000
        long = {"group": "long", "rounds": 5}
        found += [
            Scenario(
                f"an event of {megabytes} MB",
                **long,
                do="streams",
                clients=clients,
                answer=f"event_bytes={size}",
                options={"events": 1},
            ),
            Scenario(
                f"an event of {megabytes} MB, without a network",
                **long,
                do="read_pieces",
                clients=("ours",),
                options={"event_bytes": size},
            ),
        ]
    return found


def _memory() -> list[Scenario]:
    return [
        Scenario(
            "the memory of 100,000 events",
            group="memory",
            do="peak",
            clients=("ours", "vendor", "plain_httpx"),
            answer="events=100",
            options={"long_answer": "events=100000", "events": 100_000},
            rounds=3,
            is_fresh=True,
        )
    ]


# --- Targets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A figure, or the ratio or difference of two figures, and its upper limit.

    A figure is identified by its scenario, its client, and its name.
    """

    what: str
    at_most: float
    of: tuple[str, str, str]
    over: Optional[tuple[str, str, str]] = None
    less: Optional[tuple[str, str, str]] = None
    unit: str = ""


def _ratio(what: str, at_most: float, scenario: str, rival: str = "plain_httpx", *, figure="cpu"):
    return Target(what, at_most, (scenario, "ours", figure), over=(scenario, rival, figure))


ONE, MANY = "a stream of 10,000 events, 1 per chunk", "a stream of 10,000 events, 64 per chunk"
HALF_A_SECOND = "256 calls at once, asyncio, 0.5 s of server time"
NO_NETWORK = "an event of {} MB, without a network"

TARGETS = [
    _ratio("a call, over httpx.Client and json.loads", 0.90, "a call"),
    _ratio("a call, asyncio, over httpx.AsyncClient and json.loads", 1.00, "a call, asyncio"),
    _ratio("a call, over the vendor's", 0.02, "a call", "vendor"),
    _ratio("64 calls at once, asyncio, over one httpx.AsyncClient", 0.40, "64 calls at once, asyncio"),
    _ratio("256 calls at once, asyncio, 0.5 s of server time, over one httpx.AsyncClient", 0.15, HALF_A_SECOND),
    _ratio("64 calls at once, threads, over one httpx.Client", 0.70, "64 calls at once, threads"),
    _ratio("an event, 1 per chunk, over the vendor's dicts", 0.85, ONE, "vendor"),
    _ratio("an event, 1 per chunk, over httpx and json.loads", 1.00, ONE),
    _ratio("an event, 1 per chunk, over openai", 1.00, ONE, "with_openai"),
    _ratio("an event, 1 per chunk, over anthropic", 1.00, ONE, "with_anthropic"),
    _ratio("an event, 64 per chunk, over the vendor's dicts", 0.50, MANY, "vendor"),
    Target(
        "reading .raw of an event adds",
        0.8,
        ("reading .raw of 10,000 events", "ours_raw", "cpu"),
        less=("reading .raw of 10,000 events", "ours_with_loop", "cpu"),
        unit="µs",
    ),
    Target("connections for each of ten streams", 0.1, ("ten streams in a row", "ours", "connections")),
    Target("connections, asyncio", 0.1, ("ten streams in a row, asyncio", "ours", "connections")),
    _ratio("the time to the first event, over httpx", 1.00, "the first event", figure="wall"),
    _ratio("the time to the first event, asyncio, over httpx", 1.00, "the first event, asyncio", figure="wall"),
    _ratio("the import, over httpx and one Pydantic model", 1.10, "import", "floor"),
    Target("a second client takes", 0.5, ("another client", "ours", "cpu"), unit="ms"),
    Target("a second client takes", 50, ("another client", "ours", "bytes"), unit="KB"),
    Target(
        "100,000 events take more memory than 100 by", 5, ("the memory of 100,000 events", "ours", "bytes"), unit="MB"
    ),
    Target(
        "an event of 4 MB, over one of 1 MB",
        4.5,
        ("an event of 4 MB", "ours", "cpu"),
        over=("an event of 1 MB", "ours", "cpu"),
    ),
    Target(
        "the same, without a network",
        4.5,
        (NO_NETWORK.format(4), "ours", "cpu"),
        over=(NO_NETWORK.format(1), "ours", "cpu"),
    ),
    Target("an event of 4 MB takes", 20, ("an event of 4 MB", "ours", "cpu"), unit="ms"),
    Target("the same, without a network", 20, (NO_NETWORK.format(4), "ours", "cpu"), unit="ms"),
]
