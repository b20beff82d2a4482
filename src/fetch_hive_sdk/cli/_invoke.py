"""`fetch-hive invoke`: run a deployment from the shell."""

from __future__ import annotations

import argparse
import codecs
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, TextIO, cast

from pydantic import ValidationError

from fetch_hive_sdk import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    FetchHive,
    FetchHiveError,
    InvokeRequest,
    ReasoningEvent,
    ResponseEvent,
    StreamError,
)

from ._proxies import check_proxies
from ._terminal import complain, in_one_line, paint, show

if TYPE_CHECKING:
    from fetch_hive_sdk import InvokeResponse, PromptStream, Usage

EPILOG = """\
examples:
  fetch-hive invoke summarise --variant prod --input text="A long text."
  fetch-hive invoke summarise --input-json inputs.json --stream
  echo '{"text": "A long text."}' | fetch-hive invoke summarise --input-json - --json
  fetch-hive invoke summarise --input text="A long text." --stream --json | jq -r .response

The key comes from FETCH_HIVE_API_KEY; there is no option for it, as commands are kept in histories.

With --json, a failure is a JSON object on stderr, too.

exit codes:
  0  answered                        5  no usable answer: not reached, or not in time
  1  the answer cannot be written    6  an answer that is not as the API promises
  2  an argument is wrong            7  the stream broke off or failed; what came is on stdout
  3  no key, a bad base URL or proxy 130, 141  Ctrl-C, closed pipe
  4  refused by the service
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "invoke",
        help="run a prompt deployment",
        description="Run a prompt deployment: the text to stdout, the usage to stderr.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("deployment", help="the name of the deployment")
    parser.add_argument("--variant", help="the name of the variant")
    parser.add_argument(
        "--input",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="a variable of the prompt; may be repeated",
    )
    parser.add_argument(
        "--input-json", type=_json_object, default={}, metavar="FILE", help="a JSON object of variables; - for stdin"
    )
    parser.add_argument(
        "--metadata",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="data for the logs; numbers, true, false, null and a text in quotes are read as JSON; may be repeated",
    )
    parser.add_argument("--user", help="your id of the person who calls")
    parser.add_argument("--base-url", help="where the API is; FETCH_HIVE_BASE_URL if not given")
    parser.add_argument("--timeout", type=seconds, default=120.0, metavar="SECONDS", help="for the whole call; 120")
    parser.add_argument("--stream", action="store_true", help="print the text as it is being written")
    parser.add_argument("--reasoning", action="store_true", help="print what the model thought, too, to stderr")
    parser.add_argument(
        "--json", action="store_true", help="print the whole answer as JSON; with --stream each event, on a line"
    )
    parser.set_defaults(run=run, parser=parser)


def seconds(text: str) -> float:
    """Read a time limit. argparse says "invalid seconds value" of what is no number."""
    limit = float(text)
    if not 0 < limit < math.inf:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return limit


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value


def _json_object(path: str) -> dict[str, object]:
    if path == "-" and cast("Optional[TextIO]", sys.stdin) is None:
        raise argparse.ArgumentTypeError("cannot read -: the standard input is closed")
    try:
        # Bytes: json knows UTF-8 from UTF-16, with a mark at the beginning or not, better than the locale does.
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        value: object = json.loads(data)
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {exc.strerror}") from None
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"{path} is not JSON") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{path} must hold a JSON object")
    return cast("dict[str, object]", value)


def _scalar(text: str) -> object:
    """Read what is a scalar of JSON as that, and anything else as the text that it is."""
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return value if value is None or isinstance(value, (int, float, str)) else text


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is Python's, not JSON")


def run(options: argparse.Namespace) -> int:
    """Run the deployment; return the exit code."""
    request = _read_request(options)
    try:
        check_proxies()
        client = FetchHive(base_url=options.base_url, timeout=options.timeout)
        if options.stream:
            _stream(client, request, options)
        else:
            _print(client.invoke(request), options)
    except FetchHiveError as exc:
        _report(exc, as_json=options.json)
        return _exit_code(exc)
    return 0


def _read_request(options: argparse.Namespace) -> InvokeRequest:
    try:
        return InvokeRequest.model_validate(
            {
                "deployment": options.deployment,
                "variant": options.variant,
                "inputs": {**options.input_json, **dict(options.input)},
                "user": options.user,
                "metadata": {name: _scalar(value) for name, value in options.metadata},
            }
        )
    except ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        parser: argparse.ArgumentParser = options.parser
        parser.error(f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}")


def _print(answer: InvokeResponse, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(answer.raw, ensure_ascii=not _prints_utf8(), indent=2))
        return
    if options.reasoning and answer.reasoning:
        _think(answer.reasoning.rstrip("\n") + "\n")
    # Flushed: the answer has been paid for, and what follows may fail.
    print(show(answer.response, sys.stdout), flush=True)
    _print_usage(answer.usage)


def _think(text: str) -> None:
    print(paint(show(text, sys.stderr), "dim", sys.stderr), end="", file=sys.stderr, flush=True)


def _prints_utf8() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return codecs.lookup(encoding).name == "utf-8"


def _stream(client: FetchHive, request: InvokeRequest, options: argparse.Namespace) -> None:
    with client.stream(request) as stream:
        if options.json:
            for event in stream:
                print(json.dumps(event.raw, ensure_ascii=not _prints_utf8()), flush=True)
        else:
            _print_events(stream, with_reasoning=options.reasoning)
        # Raises what the service has told by an event.
        stream.collect()


def _print_events(stream: PromptStream, *, with_reasoning: bool) -> None:
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


def _report(error: FetchHiveError, *, as_json: bool) -> None:
    if not as_json:
        billed = "; it may have been processed and billed" if error.maybe_processed else ""
        complain(in_one_line(str(error)) + billed)
        return
    known = {
        "error": type(error).__name__,
        "message": str(error),
        "status_code": getattr(error, "status_code", None),
        "error_code": getattr(error, "error_code", None),
        "request_id": error.request_id,
        "maybe_processed": error.maybe_processed,
        "exit_code": _exit_code(error),
    }
    print(json.dumps({name: value for name, value in known.items() if value is not None}), file=sys.stderr)


def _exit_code(error: FetchHiveError) -> int:
    kinds: list[tuple[type[FetchHiveError], int]] = [
        (ConfigurationError, 3),
        (APIStatusError, 4),
        (StreamError, 7),
        (APIConnectionError, 5),
    ]
    return next((code for kind, code in kinds if isinstance(error, kind)), 6)
