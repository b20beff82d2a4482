"""`fetch-hive completion`: shell completion, provided by argcomplete."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Callable

from ._terminal import complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

EPILOG = """\
Requires argcomplete: pip install argcomplete

examples:
  source <(fetch-hive completion bash)    in ~/.bashrc
  source <(fetch-hive completion zsh)     in ~/.zshrc, after compinit
  fetch-hive completion fish | source     in ~/.config/fish/config.fish

exit codes:
  0  success
  1  argcomplete is not installed
  2  invalid argument
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "completion",
        help="print a script for completion in a shell",
        description="Print a script that completes commands, options and files in a shell.",
        epilog=EPILOG,
    )
    parser.add_argument("shell", choices=["bash", "fish", "zsh"], help="the shell")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    try:
        from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - an optional dependency
    except ImportError:
        complain("completion requires argcomplete: pip install argcomplete")
        return 1
    print(shellcode(["fetch-hive"], shell=options.shell, use_defaults=False))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Print the completions that the shell asks for, and exit. Called by the script that `run` prints."""
    import argcomplete  # noqa: PLC0415 - an optional dependency

    argcomplete.autocomplete(
        parser,
        exit_method=sys.exit,
        default_completer=_complete_value,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - argcomplete accepts functions
    )


def _complete_value(*, prefix: str, action: argparse.Action, **_: object) -> Iterable[str]:
    from argcomplete.completers import FilesCompleter  # noqa: PLC0415 - an optional dependency

    is_command = action.dest == "misplaced" and " -- " in os.environ.get("COMP_LINE", "")
    if action.metavar == "NAME=TEXT":
        name, is_file, path = prefix.partition("=@")
        return [f"{name}=@{file}" for file in FilesCompleter()(path)] if is_file else []
    if not is_command and action.metavar not in {"FILE", "PATH"}:
        return []
    files = FilesCompleter()(prefix)
    return [*_programs(prefix), *files] if is_command and os.environ["COMP_LINE"].endswith(f" -- {prefix}") else files


def _programs(prefix: str) -> Iterator[str]:
    for folder in os.get_exec_path():
        if os.path.isdir(folder):  # noqa: PTH112 - faster for many folders
            with os.scandir(folder) as entries:
                yield from (entry.name for entry in entries if entry.name.startswith(prefix))
