"""Blocks of code on the pages of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
README = "README.md"

_OPTION = re.compile(r":(\w+): (.*)\n")
_REMARK = re.compile(r"  +# (exit code (\d+)|.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`kind` is the language, or the directive in braces; `argument` what a directive is told."""

    page: str
    line: int
    kind: str
    argument: str
    caption: str | None
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A line after `$ ` with those that belong to it, and what the page shows below."""

    text: str
    shown: tuple[str, ...]
    exit_code: int


def pages() -> list[str]:
    found = (ROOT / "docs").rglob("*.md")
    return [README, *sorted(path.relative_to(ROOT).as_posix() for path in found)]


def blocks(page: str) -> list[Block]:
    tokens = MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))
    return [
        _block(page, token.map[0] + 1, token.info.strip(), token.content)
        for token in tokens
        if token.type == "fence" and token.map
    ]


def commands(block: Block) -> list[Command]:
    """A command goes on after a backslash, and until its quotes are closed."""
    found: list[list[str]] = []
    shown: list[list[str]] = []
    for line in block.text.splitlines():
        is_open = bool(found) and not shown[-1] and _is_open("\n".join(found[-1]))
        if is_open:
            found[-1].append(line)
        elif line.startswith("$ "):
            found.append([line.removeprefix("$ ")])
            shown.append([])
        else:
            assert found, f"{block.where}: {line!r} stands before any command"
            shown[-1].append(line)
    return [_command("\n".join(lines), below) for lines, below in zip(found, shown, strict=True)]


def _block(page: str, line: int, info: str, text: str) -> Block:
    kind, _, argument = info.partition(" ")
    if kind == "{code-block}":
        kind, argument = argument, ""
    caption = None
    while option := _OPTION.match(text):
        text = text[option.end() :]
        if option[1] == "caption":
            caption = option[2]
    return Block(
        page=page, line=line, kind=kind, argument=argument, caption=caption, text=text.lstrip("\n")
    )


def _command(text: str, shown: list[str]) -> Command:
    """A remark after the command says what it ends with, or something for people."""
    remark = _REMARK.search(text)
    return Command(
        text=_REMARK.sub("", text),
        shown=tuple(line for line in shown if line.strip()),
        exit_code=int(remark[2]) if remark and remark[2] else 0,
    )


def _is_open(text: str) -> bool:
    return text.endswith("\\") or text.count("'") % 2 == 1
