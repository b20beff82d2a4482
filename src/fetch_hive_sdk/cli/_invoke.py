"""`fetch-hive invoke`: run a prompt, a workflow or an agent from the shell."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Callable, Union, cast

from pydantic import ValidationError

from fetch_hive_sdk import AgentReply, AgentRequest, InvokeRequest, ReasoningEvent, ResponseEvent, WorkflowRequest

from ._calling import add_options, call, pair, print_json, prints_utf8, read_json, refuse, scalar
from ._terminal import complain, in_one_line, paint, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fetch_hive_sdk import (
        AgentStream,
        FetchHive,
        InvokeResponse,
        PendingToolApproval,
        PromptStream,
        Usage,
        WorkflowRun,
    )

EPILOG = """\
examples:
  fetch-hive invoke summarise --variant prod --input text="A long text."
  fetch-hive invoke summarise --input-json inputs.json --stream
  echo '{"text": "A long text."}' | fetch-hive invoke summarise --input-json - --json
  fetch-hive invoke summarise --input text="A long text." --stream --json | jq -r .response
  fetch-hive invoke --workflow invoice-triage --input vendor=Northwind
  fetch-hive invoke --agent AGENT --message "Draft a reply to ticket 8841" --thread ticket-8841 --stream

The key comes from FETCH_HIVE_API_KEY; there is no option for it, as commands are kept in histories.

With --json, a failure is a JSON object on stderr, too.

exit codes:
  0  answered                        5  no usable answer: not reached, or not in time
  1  the answer cannot be written    6  an answer that is not as the API promises
  2  an argument is wrong            7  the run failed or broke off; what came is on stdout
  3  no key, a bad base URL or proxy 130, 141  Ctrl-C, closed pipe
  4  refused by the service
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "invoke",
        help="run a prompt, a workflow or an agent",
        description="Run a prompt, a workflow or an agent: the text to stdout, everything else to stderr.",
        epilog=EPILOG,
    )
    parser.add_argument("deployment", nargs="?", help="the name of the deployment of a prompt")
    parser.add_argument("--workflow", metavar="NAME", help="in its place, the deployment of a workflow")
    parser.add_argument("--agent", metavar="ID", help="in its place, the id of an agent")
    parser.add_argument("--message", metavar="TEXT", help="what the agent is asked")
    parser.add_argument("--thread", metavar="NAME", help="the conversation with the agent; without it, no memory")
    parser.add_argument("--variant", help="the name of the variant")
    parser.add_argument(
        "--input",
        type=pair,
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="a variable of the prompt or the workflow; may be repeated",
    )
    parser.add_argument(
        "--input-json", type=_json_object, default={}, metavar="FILE", help="a JSON object of variables; - for stdin"
    )
    parser.add_argument(
        "--metadata",
        type=pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="data for the logs; numbers, true, false, null and a text in quotes are read as JSON; may be repeated",
    )
    parser.add_argument("--user", help="your id of the person who calls")
    add_options(parser, with_workspace=False)
    parser.add_argument("--stream", action="store_true", help="print the text as it is being written")
    parser.add_argument("--reasoning", action="store_true", help="print what the model thought, too, to stderr")
    parser.add_argument(
        "--json", action="store_true", help="print the whole answer as JSON; with --stream each event, on a line"
    )
    parser.set_defaults(run=run, parser=parser)


def _json_object(path: str) -> dict[str, object]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{path} must hold a JSON object")
    return cast("dict[str, object]", value)


def run(options: argparse.Namespace) -> int:
    """Run the deployment or the agent; return the exit code."""
    request = _read_request(options)

    def work(client: FetchHive) -> int:
        if isinstance(request, WorkflowRequest):
            return _print_run(client.invoke(request), options)
        if options.stream:
            _stream(client, request, options)
        else:
            _print(client.invoke(request), options)
        return 0

    return call(options, work, as_json=options.json)


def _read_request(options: argparse.Namespace) -> Union[InvokeRequest, WorkflowRequest, AgentRequest]:
    parser: argparse.ArgumentParser = options.parser
    _check_combination(parser, options)
    # What was not given is not sent: an empty object would be.
    common = {"user": options.user, "metadata": {name: scalar(value) for name, value in options.metadata} or None}
    try:
        if options.agent is not None:
            fields = {"agent": options.agent, "message": options.message, "thread_id": options.thread}
            return AgentRequest.model_validate({**fields, **common})
        inputs = {**options.input_json, **dict(options.input)}
        model = InvokeRequest if options.workflow is None else WorkflowRequest
        deployment = options.deployment if options.workflow is None else options.workflow
        fields = {"deployment": deployment, "variant": options.variant, "inputs": inputs or None}
        return model.model_validate({**fields, **common})
    except ValidationError as exc:
        refuse(options, exc)


def _check_combination(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if [options.deployment, options.workflow, options.agent].count(None) != 2:  # noqa: PLR2004 - one of three
        parser.error("pass a deployment, --workflow NAME or --agent ID, and one of them only")
    if (options.agent is None) != (options.message is None):
        parser.error("--agent and --message go together")
    if options.agent is None and options.thread is not None:
        parser.error("--thread goes with --agent")
    if options.agent is not None and (options.variant is not None or options.input or options.input_json):
        parser.error("--variant and --input go with a deployment: an agent takes a --message")
    if options.workflow is not None and (options.stream or options.reasoning):
        parser.error("a workflow has no stream and no reasoning")


def _print_run(workflow_run: WorkflowRun, options: argparse.Namespace) -> int:
    if options.json:
        print_json(workflow_run.raw)
    elif isinstance(workflow_run.output, str):
        print(show(workflow_run.output, sys.stdout), flush=True)
    elif workflow_run.output is not None:
        print_json(workflow_run.output)
    if workflow_run.status != "failed":
        return 0
    if not options.json:
        complain(in_one_line(f"the run failed: {workflow_run.error or 'the service does not say why'}"))
    return 7


def _print(answer: Union[InvokeResponse, AgentReply], options: argparse.Namespace) -> None:
    if options.json:
        print_json(answer.raw)
        return
    if options.reasoning and answer.reasoning:
        _think(answer.reasoning.rstrip("\n") + "\n")
    # Flushed: the answer has been paid for, and what follows may fail.
    print(show(answer.response, sys.stdout), flush=True)
    if isinstance(answer, AgentReply):
        _print_approvals(answer.pending_tool_approvals)
    _print_usage(answer.usage)


def _print_approvals(approvals: Sequence[PendingToolApproval]) -> None:
    for approval in approvals:
        what = in_one_line(approval.summary or approval.tool_name or "a tool call")
        complain(f"waits for a decision: {what} (approval {approval.approval_id})")


def _think(text: str) -> None:
    print(paint(show(text, sys.stderr), "dim", sys.stderr), end="", file=sys.stderr, flush=True)


def _stream(client: FetchHive, request: Union[InvokeRequest, AgentRequest], options: argparse.Namespace) -> None:
    with client.stream(request) as stream:
        if options.json:
            for event in stream:
                print(json.dumps(event.raw, ensure_ascii=not prints_utf8()), flush=True)
        else:
            _print_events(stream, with_reasoning=options.reasoning)
        # Raises what the service has told by an event.
        answer = stream.collect()
        if isinstance(answer, AgentReply) and not options.json:
            _print_approvals(answer.pending_tool_approvals)


def _print_events(stream: Union[PromptStream, AgentStream], *, with_reasoning: bool) -> None:
    try:
        is_thinking = False
        for event in stream:
            if isinstance(event, ReasoningEvent) and with_reasoning:
                _think(event.response)
            if is_thinking and not isinstance(event, ReasoningEvent):
                print(file=sys.stderr, flush=True)
            is_thinking = isinstance(event, ReasoningEvent) and with_reasoning
            if isinstance(event, ResponseEvent):
                print(show(event.response, sys.stdout), end="", flush=True)
    finally:
        # What has been paid for stays on the screen, on lines of its own.
        if stream.partial.text and not stream.partial.text.endswith("\n"):
            print(flush=True)
    if stream.partial.usage:
        _print_usage(stream.partial.usage)


def _print_usage(usage: Usage) -> None:
    if usage.total_tokens is not None:
        prompt, completion = usage.prompt_tokens.total_tokens, usage.completion_tokens.total_tokens
        told = f"{usage.total_tokens} tokens (prompt {prompt}, completion {completion})"
        print(paint(told, "dim", sys.stderr), file=sys.stderr)
