"""`fetch-hive invoke`: run a prompt, a workflow or an agent from the shell."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Callable, Union, cast

from pydantic import ValidationError

from fetch_hive_sdk import AgentReply, AgentRequest, InvokeRequest, ReasoningEvent, ResponseEvent, WorkflowRequest
from fetch_hive_sdk._text import in_one_line

from ._calling import add_options, call, pair, print_json, prints_utf8, read_json, refuse, scalar, variable
from ._clock import Clock
from ._terminal import complain, is_terminal, note, paint, show

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
  fetch-hive invoke summarise --input text=@article.txt
  fetch-hive invoke summarise --input-json inputs.json --stream
  echo '{"text": "A long text."}' | fetch-hive invoke summarise --input-json - --json
  fetch-hive invoke summarise --input text="A long text." --stream --json | jq -r .response
  fetch-hive invoke --workflow invoice-triage --input vendor=Northwind
  fetch-hive invoke --agent AGENT --message "Draft a reply to ticket 8841" --thread ticket-8841 --stream

The API key is read from FETCH_HIVE_API_KEY. There is no option for it, because shells store their history.

With --json, errors are printed to stderr as JSON objects.

exit codes:
  0  success                         5  no answer: connection failed, or timeout
  1  the answer cannot be written    6  the answer does not match the API
  2  invalid argument                7  the run failed or the stream broke; its output is on stdout
  3  no key, invalid base URL/proxy  130, 141  Ctrl-C, closed pipe
  4  error response of the service
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "invoke",
        help="run a prompt, a workflow or an agent",
        description="Run a prompt, a workflow or an agent. Prints its text to stdout and everything else to stderr.",
        epilog=EPILOG,
    )
    parser.add_argument("deployment", nargs="?", help="the deployment of a prompt")
    parser.add_argument("--workflow", metavar="NAME", help="run the deployment of a workflow instead")
    parser.add_argument("--agent", metavar="ID", help="run the agent with this id instead")
    parser.add_argument("--message", metavar="TEXT", help="the message to the agent")
    parser.add_argument(
        "--thread",
        metavar="NAME",
        help="the thread of the conversation with the agent; without it, the agent has no memory",
    )
    parser.add_argument("--variant", help="the variant of the deployment")
    parser.add_argument(
        "--input",
        type=variable,
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="a variable of the prompt or the workflow; @FILE reads a file and - stdin, and @@ and -- stand for a"
        " literal @ and -; may be repeated",
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
        help="data for the logs; numbers, true, false, null and quoted strings are parsed as JSON; may be repeated",
    )
    parser.add_argument("--user", help="your id for the end user")
    add_options(parser, with_workspace=False)
    parser.add_argument("--stream", action="store_true", help="print the text as it arrives")
    parser.add_argument("--reasoning", action="store_true", help="print the reasoning of the model to stderr")
    parser.add_argument(
        "--json", action="store_true", help="print the whole answer as JSON; with --stream, one event per line"
    )
    parser.set_defaults(run=run, parser=parser)


def _json_object(path: str) -> dict[str, object]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{path} must contain a JSON object")
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
    # None is not sent, unlike an empty object.
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
        name = "deployment" if options.workflow is None else "--workflow"
        refuse(options, exc, names={"deployment": name, "thread_id": "--thread"})


def _check_combination(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if [options.deployment, options.workflow, options.agent].count(None) != 2:  # noqa: PLR2004 - one of three
        parser.error("pass exactly one of a deployment, --workflow NAME or --agent ID")
    if (options.agent is None) != (options.message is None):
        parser.error("--agent and --message must be used together")
    if options.agent is None and options.thread is not None:
        parser.error("--thread requires --agent")
    if options.agent is not None and (options.variant is not None or options.input or options.input_json):
        parser.error("--variant and --input cannot be combined with --agent: pass a --message")
    if options.workflow is not None and (options.stream or options.reasoning):
        parser.error("--stream and --reasoning cannot be combined with --workflow")


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
        complain(in_one_line(f"the run failed: {workflow_run.error or 'no reason given'}"))
    return 7


def _print(answer: Union[InvokeResponse, AgentReply], options: argparse.Namespace) -> None:
    if options.json:
        print_json(answer.raw)
        return
    if options.reasoning and answer.reasoning:
        _print_reasoning(answer.reasoning.rstrip("\n") + "\n")
    print(show(answer.response, sys.stdout), flush=True)
    if isinstance(answer, AgentReply):
        _print_approvals(answer.pending_tool_approvals)
    _print_usage(answer.usage)


def _print_approvals(approvals: Sequence[PendingToolApproval]) -> None:
    for approval in approvals:
        what = in_one_line(approval.summary or approval.tool_name or "a tool call")
        complain(f"waiting for approval: {what} (approval {approval.approval_id})")


def _print_reasoning(text: str) -> None:
    note(paint(show(text, sys.stderr), "dim", sys.stderr), end="")


def _stream(client: FetchHive, request: Union[InvokeRequest, AgentRequest], options: argparse.Namespace) -> None:
    clock = Clock()
    with client.stream(request) as stream:
        if options.json:
            for event in stream:
                print(json.dumps(event.raw, ensure_ascii=not prints_utf8()), flush=True)
        else:
            _print_events(stream, clock, with_reasoning=options.reasoning)
        # Raises the error of an error event.
        answer = stream.collect()
        if isinstance(answer, AgentReply) and not options.json:
            _print_approvals(answer.pending_tool_approvals)


def _print_events(stream: Union[PromptStream, AgentStream], clock: Clock, *, with_reasoning: bool) -> None:
    try:
        is_thinking = False
        for event in stream:
            if isinstance(event, (ReasoningEvent, ResponseEvent)):
                clock.tick()
            if isinstance(event, ReasoningEvent) and with_reasoning:
                _print_reasoning(event.response)
            if is_thinking and not isinstance(event, ReasoningEvent):
                note("")
            is_thinking = isinstance(event, ReasoningEvent) and with_reasoning
            if isinstance(event, ResponseEvent):
                print(show(event.response, sys.stdout), end="", flush=True)
    finally:
        # End the line of the billed text before an error message.
        if stream.partial.text and not stream.partial.text.endswith("\n"):
            print(flush=True)
    if stream.partial.usage:
        _print_usage(stream.partial.usage)
        if is_terminal(sys.stderr) and (speed := clock.speed(stream.partial.usage)):
            note(paint(speed, "dim", sys.stderr))


def _print_usage(usage: Usage) -> None:
    if usage.total_tokens is not None:
        prompt, completion = usage.prompt_tokens.total_tokens, usage.completion_tokens.total_tokens
        counts = f"{usage.total_tokens} tokens (prompt {prompt}, completion {completion})"
        note(paint(counts, "dim", sys.stderr))
