"""`fetch-hive completion`: what a shell needs to complete commands, made from the parser itself."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

EPILOG = """\
examples:
  source <(fetch-hive completion bash)    in ~/.bashrc
  source <(fetch-hive completion zsh)     in ~/.zshrc, after compinit
  fetch-hive completion fish | source     in ~/.config/fish/config.fish

exit codes:
  0  printed
  2  an argument is wrong
"""


def add_to(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script that lets a shell complete commands, options and files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=sorted(_WRITERS), help="the shell")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    from . import build_parser  # noqa: PLC0415 - the parser has this command in it

    print(_WRITERS[options.shell](list(read_commands(build_parser()))))
    return 0


# --- What there is to complete ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """An option of a command."""

    names: list[str]
    about: str
    takes: Literal["file", "text", "nothing"]
    may_repeat: bool


@dataclass(frozen=True)
class Command:
    """A command, as the parser has it."""

    name: str
    about: str
    options: list[Option]
    words: list[str]
    """What its argument can be, if it is one of a few."""
    takes_file: bool
    takes_command: bool

    def names(self, *kinds: str) -> list[str]:
        """Return the names of the options that take this."""
        return [name for option in self.options if option.takes in kinds for name in option.names]


def read_commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """Yield what a parser knows: its commands, and itself as the one without a name."""
    yield _read_command("", "", parser)
    for action in _actions_of(parser):
        if action.nargs == argparse.PARSER:
            choices = cast("dict[str, argparse.ArgumentParser]", action.choices)
            about = {entry.dest: entry.help or "" for entry in _descriptions_of(action)}
            for name, subparser in choices.items():
                yield _read_command(name, about[name], subparser)


def _read_command(name: str, about: str, parser: argparse.ArgumentParser) -> Command:
    actions = _actions_of(parser)
    arguments = [action for action in actions if not action.option_strings and action.nargs != argparse.PARSER]
    is_misplaced = [action for action in arguments if action.help == argparse.SUPPRESS]
    return Command(
        name,
        about,
        options=[
            Option(
                list(action.option_strings), action.help or "", _what_takes(action), isinstance(action.default, list)
            )
            for action in actions
            if action.option_strings
        ],
        words=[str(word) for action in arguments for word in action.choices or ()],
        takes_file=any(_what_takes(action) == "file" for action in arguments),
        takes_command=bool(is_misplaced),
    )


def _what_takes(action: argparse.Action) -> Literal["file", "text", "nothing"]:
    if action.nargs == 0:
        return "nothing"
    return "file" if action.metavar in {"FILE", "PATH"} else "text"


# argparse has no other way to ask what is in a parser.
def _actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001


def _descriptions_of(action: argparse.Action) -> list[argparse.Action]:
    return cast("list[argparse.Action]", vars(action)["_choices_actions"])


# --- The shells ------------------------------------------------------------------------------------------------------


def write_bash(commands: Sequence[Command]) -> str:
    """Return the script for bash, from version 3 on."""
    top, *rest = commands
    first = [command.name for command in rest] + top.names("nothing")
    pairs = [(command, name) for command in rest for name in command.names("file")]
    texts = [(command, name) for command in rest for name in command.names("text")]
    return f"""\
_fetch_hive() {{
    local IFS=$'\\n' word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local command="${{COMP_WORDS[1]}}" words="" files="" place
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W {_bash_words(first)} -- "$word"))
        return
    fi
    case "$command" in
        {_either(command.name for command in rest if command.takes_command)})
            for ((place = 2; place < COMP_CWORD; place++)); do
                if [[ "${{COMP_WORDS[place]}}" == -- ]]; then
                    compopt -o filenames 2> /dev/null
                    if ((place + 1 == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$word")); fi
                    COMPREPLY+=($(compgen -f -- "$word"))
                    return
                fi
            done ;;
    esac
    case "$command $before" in
        {_either(f'"{command.name} {name}"' for command, name in pairs)})
            files=yes ;;
        {_either(f'"{command.name} {name}"' for command, name in texts)})
            return ;;
        *)
            case "$command" in
{_bash_cases(rest)}
            esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ -n "$files" ]]; then
        compopt -o filenames 2> /dev/null
        COMPREPLY+=($(compgen -f -- "$word"))
    fi
}}
complete -F _fetch_hive fetch-hive"""


def _bash_cases(commands: Sequence[Command]) -> str:
    lines: list[str] = []
    for command in commands:
        names = command.words + command.names("file", "text", "nothing") + ["--"] * command.takes_command
        files = '; [[ "$word" == -* ]] || files=yes' if command.takes_file else ""
        lines.append(f"                {command.name}) words={_bash_words(names)}{files} ;;")
    return "\n".join(lines)


def _bash_words(words: Sequence[str]) -> str:
    return "$'" + "\\n".join(words) + "'"


def _either(patterns: Iterable[str]) -> str:
    return "|".join(patterns)


def write_zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh."""
    _, *rest = commands
    described = " ".join(_quote(f"{command.name}:{_plain(command.about)}") for command in rest)
    cases = "\n".join(f"        {command.name}) _arguments -S {_zsh_arguments(command)} ;;" for command in rest)
    return f"""\
#compdef fetch-hive
_fetch_hive() {{
    local -a commands
    local place
    commands=({described})
    if ((CURRENT == 2)); then
        _describe command commands
        _arguments {_zsh_arguments(commands[0])}
        return
    fi
    shift words
    ((CURRENT--))
    place=$words[(i)--]
    if ((place < CURRENT)) && [[ $words[1] == ({_either(c.name for c in rest if c.takes_command)}) ]]; then
        shift $place words
        ((CURRENT -= place))
        _normal
        return
    fi
    case $words[1] in
{cases}
    esac
}}
compdef _fetch_hive fetch-hive"""


def _zsh_arguments(command: Command) -> str:
    after = {"file": ":file:_files", "text": ":text:", "nothing": ""}
    options = [
        _quote(f"{'*' * option.may_repeat}{name}[{_plain(option.about)}]{after[option.takes]}")
        for option in command.options
        for name in option.names
    ]
    words = [_quote(f"1:argument:({' '.join(command.words)})")] if command.words else []
    return " ".join([*options, *words, *(["'1:file:_files'"] if command.takes_file else [])])


def write_fish(commands: Sequence[Command]) -> str:
    """Return the script for fish."""
    top, *rest = commands
    lines = ["complete -c fetch-hive -f"]
    lines += [_fish_option("__fish_use_subcommand", option) for option in top.options]
    for command in rest:
        lines.append(f"complete -c fetch-hive -n __fish_use_subcommand -a {command.name} -d {_quote(command.about)}")
        here = f"__fish_seen_subcommand_from {command.name}"
        lines += [_fish_option(here, option) for option in command.options]
        if command.words:
            lines.append(f"complete -c fetch-hive -n '{here}' -a {_quote(' '.join(command.words))}")
        if command.takes_file:
            lines.append(f"complete -c fetch-hive -n '{here}' -F")
        if command.takes_command:
            after = f"{here}; and contains -- -- (commandline -opc)"
            lines.append(f"complete -c fetch-hive -n '{after}' -F -a '(__fish_complete_command)'")
    return "\n".join(lines)


def _fish_option(condition: str, option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    takes = {"file": " -r -F", "text": " -x", "nothing": ""}[option.takes]
    return f"complete -c fetch-hive -n {_quote(condition)} {names}{takes} -d {_quote(option.about)}"


def _plain(about: str) -> str:
    """Return a description without the characters that mean something to zsh."""
    return about.replace("[", "(").replace("]", ")").replace(":", ",")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_WRITERS: dict[str, Callable[[Sequence[Command]], str]] = {"bash": write_bash, "fish": write_fish, "zsh": write_zsh}
