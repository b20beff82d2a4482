"""`fetch-hive completion`: completion in a shell. argcomplete does it, from the parser itself."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Callable

from ._terminal import complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

EPILOG = """\
It needs argcomplete: pip install 'fetch-hive-sdk[completion]'

examples:
  source <(fetch-hive completion bash)    in ~/.bashrc
  source <(fetch-hive completion zsh)     in ~/.zshrc, after compinit
  fetch-hive completion fish | source     in ~/.config/fish/config.fish

exit codes:
  0  printed
  1  argcomplete is not installed
  2  an argument is wrong
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script that lets a shell complete commands, options and files.",
        epilog=EPILOG,
    )
    parser.add_argument("shell", choices=["bash", "fish", "zsh"], help="the shell")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    try:
        from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - an extra
    except ImportError:
        complain("completion needs one more package: pip install 'fetch-hive-sdk[completion]'")
        return 1
    print(shellcode(["fetch-hive"], shell=options.shell, use_defaults=False))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks what could come next, and exit. The script of `run` starts the program for that."""
    import argcomplete  # noqa: PLC0415 - an extra

    argcomplete.autocomplete(
        parser,
        exit_method=sys.exit,
        default_completer=_complete_value,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - it takes functions
    )


def _complete_value(*, prefix: str, action: argparse.Action, **_: object) -> Iterable[str]:
    from argcomplete.completers import FilesCompleter  # noqa: PLC0415 - an extra

    is_command = action.dest == "misplaced" and " -- " in os.environ.get("COMP_LINE", "")
    if not is_command and action.metavar not in {"FILE", "PATH"}:
        return []
    files = FilesCompleter()(prefix)
    return [*_programs(prefix), *files] if is_command and os.environ["COMP_LINE"].endswith(f" -- {prefix}") else files


def _programs(prefix: str) -> Iterator[str]:
    for folder in os.get_exec_path():
        if os.path.isdir(folder):  # noqa: PTH112 - names, and of many folders
            with os.scandir(folder) as entries:
                yield from (entry.name for entry in entries if entry.name.startswith(prefix))
