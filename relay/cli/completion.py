"""`zonerelay completion`: what makes a shell complete the words of the command line, written from the words there are.

Nothing is asked while somebody types: all words stand in the script.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from relay.cli.command import Command, Start

#: Placeholders of values that are names of files.
_FILES = frozenset({"FILE"})


class Word(NamedTuple):
    """What may stand somewhere: an option (with all its spellings) or a command, and its help. An option takes a value
    where `value` is "file", "any", or "choice" of `choices`."""

    spellings: tuple[str, ...]
    help: str
    value: str = ""
    choices: tuple[str, ...] = ()


class Place(NamedTuple):
    """A command by the words that lead there, and what may follow. `files`: names of files too."""

    path: tuple[str, ...]
    words: tuple[Word, ...]
    files: bool


def places(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Of a parser and all below it."""
    words: list[Word] = []
    below: list[tuple[str, argparse.ArgumentParser]] = []
    files = False
    # There is no public way to ask a parser what it takes; this one has been there since Python 2.7.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            # Other names for a command lead there too, and aren't offered.
            words += [Word((one.dest,), one.help or "") for one in action._choices_actions]
            below += action.choices.items()
        elif action.option_strings:
            words.append(_option(action))
        else:
            files = files or action.metavar in _FILES
    yield Place(path, tuple(words), files)
    for name, one in below:
        yield from places(one, (*path, name))


def _option(action: argparse.Action) -> Word:
    spellings, text = tuple(action.option_strings), _help(action)
    if action.nargs == 0:
        return Word(spellings, text)
    if action.choices is not None:
        return Word(spellings, text, "choice", tuple(map(str, action.choices)))
    return Word(spellings, text, "file" if action.metavar in _FILES else "any")


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%(default)s", str(action.default))


_BASH = """\
# bash completion of {name}
_{name}() {{
    local i where='' words='' values='' files=''
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$where ${{COMP_WORDS[i]}}" in
            {paths}) where+=" ${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$where $prev" in
{values}
    esac
    case "$where" in
{words}
    esac
    if [[ $values ]]; then
        words=''
        case "$values" in
            file) files=1 ;;
            any) ;;
            *) words=$values ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ $files && ($values || $cur != -*) ]]; then
        compopt -o filenames 2>/dev/null
        local IFS=$'\n'
        COMPREPLY+=($(compgen -f -- "$cur"))
    fi
}}
complete -F _{name} {name}
"""


def bash(parser: argparse.ArgumentParser) -> str:
    """For bash; zsh takes it by its bashcompinit."""
    values, words = [], []
    known = list(places(parser))
    for place in known:
        path = "".join(f" {word}" for word in place.path)
        for word in place.words:
            if word.value:
                patterns = "|".join(shlex.quote(f"{path} {each}") for each in word.spellings)
                value = " ".join(word.choices) if word.value == "choice" else word.value
                values.append(f"        {patterns}) values={shlex.quote(value)} ;;")
        spellings = shlex.quote(" ".join(each for word in place.words for each in word.spellings))
        words.append(f"        {shlex.quote(path)}) words={spellings}{' files=1' if place.files else ''} ;;")
    return _BASH.format(
        name=parser.prog,
        paths="|".join(shlex.quote("".join(f" {word}" for word in place.path)) for place in known if place.path),
        values="\n".join(values),
        words="\n".join(words),
    )


def zsh(parser: argparse.ArgumentParser) -> str:
    """By what zsh has for the completions of bash."""
    return f"#compdef {parser.prog}\nautoload -U +X bashcompinit && bashcompinit\n{bash(parser)}"


_FISH = """\
# fish completion of {name}
set -g __{name}_paths {paths}
function __{name}_at
    set -l path
    for word in (commandline -opc)[2..-1]
        if contains -- (string join " " $path $word) $__{name}_paths
            set -a path $word
        end
    end
    test (string join " " $path) = "$argv[1]"
end
complete -c {name} -f
"""


def fish(parser: argparse.ArgumentParser) -> str:
    """A line for each word, which is offered behind the words that lead to it."""
    known = list(places(parser))
    paths = " ".join(_fish_quoted(" ".join(place.path)) for place in known if place.path)
    lines = []
    for place in known:
        where = _fish_quoted(f"__{parser.prog}_at {_fish_quoted(' '.join(place.path))}")
        lines += [f"complete -c {parser.prog} -n {where} {_fish(word)}" for word in place.words]
        if place.files:
            lines.append(f"complete -c {parser.prog} -n {where} -F")
    return _FISH.format(name=parser.prog, paths=paths) + "".join(f"{line}\n" for line in lines)


def _fish(word: Word) -> str:
    text = f" -d {_fish_quoted(word.help)}" if word.help else ""
    if not word.spellings[0].startswith("-"):
        return f"-a {_fish_quoted(word.spellings[0])}{text}"
    names = [f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in word.spellings]
    values = {"": "", "any": " -x", "file": " -r -F", "choice": f" -x -a {_fish_quoted(' '.join(word.choices))}"}
    return " ".join(names) + values[word.value] + text


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(_SHELLS))


def run(arguments: argparse.Namespace, start: Start) -> int:
    """Prints the script."""
    print(_SHELLS[arguments.shell](arguments.whole), end="")
    return 0


COMMAND = Command("completion", "print what makes a shell complete these commands", _arguments, run)
