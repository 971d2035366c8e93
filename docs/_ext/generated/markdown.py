"""Markdown as the pages need it."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A column in which nothing is said is left out."""
    said = [
        column
        for column in zip(head, *rows, strict=True)
        if any(column[1:]) or column[0] == head[0]
    ]
    lines = [*zip(*said, strict=True)]
    lines.insert(1, ("---",) * len(said))
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


def paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
