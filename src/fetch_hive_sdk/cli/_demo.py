"""`fetch-hive demo`: a tour of the package on one screen, without key and network."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Callable

from fetch_hive_sdk.testing import AgentAnswer, FakeServer, ToolUse

if TYPE_CHECKING:
    import argparse

EPILOG = """\
examples:
  fetch-hive demo

exit codes:
  0  success
"""

# Each scene is printed and then executed, all in one namespace.
SCENES = [
    (
        "One call, one answer",
        """
        from fetch_hive_sdk import FetchHive

        client = FetchHive(api_key="fhk_demo", base_url=url)
        result = client.invoke_prompt(deployment="summarise", inputs={"text": "A long text."})
        print(result.response)
        print(result.usage.total_tokens, "tokens, request", result.request_id)
        """,
    ),
    (
        "A stream, printed as it arrives",
        """
        shown = None
        for event in client.invoke_prompt_stream(deployment="summarise", inputs={"text": "A long text."}):
            if event.type == "reasoning" or event.type == "response":
                if event.type != shown:
                    print(f"\\n[{event.type}] ", end="")
                    shown = event.type
                print(event.response, end="", flush=True)
            elif event.type == "usage":
                print(f"\\n[usage] {event.usage.total_tokens} tokens")
        """,
    ),
    (
        "The same with asyncio",
        """
        import asyncio

        async def main():
            result = await client.ainvoke_prompt(deployment="summarise", inputs={"text": "A long text."})
            print(result.response)
            async for piece in client.ainvoke_prompt_stream(deployment="summarise").text():
                print(piece, end="", flush=True)
            print()

        asyncio.run(main())
        """,
    ),
    (
        "An agent with a tool, and a workflow",
        """
        for event in client.invoke_agent_stream(agent="weather-bee", message="Do I need a hat in Bonn?"):
            if event.type == "tool":
                print(f"[tool] {event.tool} {event.input} -> {event.output}")
            elif event.type == "response":
                print(event.response, end="", flush=True)
        print()

        run = client.invoke_workflow(deployment="invoice-triage", inputs={"vendor": "Northwind"})
        print(run.status, run.output)
        """,
    ),
    (
        "An error",
        """
        from fetch_hive_sdk import NotFoundError

        try:
            client.invoke_prompt(deployment="sumarise")
        except NotFoundError as exc:
            print(f"{type(exc).__name__}: {exc}")
            print("may have been billed:", exc.maybe_processed)
        """,
    ),
]


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "demo",
        help="show what the package does, without key and network",
        description="Start a fake service on this machine; show calls, a stream, an agent, a workflow and an error.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:  # noqa: ARG001 - all commands have one signature
    """Play the scenes against a fake service on a loopback port."""
    fake = FakeServer(delay=0.03)
    fake.answers("summarise", "Fetch Hive helps teams ship.", reasoning="Five words will do.", model="demo-model")
    look = ToolUse("weather", {"city": "Bonn"}, "sunny")
    fake.answers_agent("weather-bee", AgentAnswer("Yes: it is sunny.", tools=[look]))
    fake.answers_workflow("invoice-triage", {"lines": 2, "mismatches": 0})
    with fake.serve() as url:
        names: dict[str, object] = {"url": url}
        for title, scene in SCENES:
            code = textwrap.dedent(scene).strip()
            print(f"--- {title}\n\n{textwrap.indent(code, '    ')}\n", flush=True)
            exec(code, names)  # noqa: S102 - our own code, above
            print(flush=True)
    print("This was a fake service on this machine: no key, no network, no cost. Start your own: fetch-hive serve")
    return 0
