"""Tables of one line for each row, that fit where they are shown."""

import sys
from dataclasses import dataclass
from itertools import compress

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

WHOLE = sys.maxsize
"""As `least`: all of it or nothing, as with an id, which is none when it is cut."""
SOME_WORDS = 12
_GAP = 2
_MARK = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`least`: the fewest cells to which it may be cut, or 0 for never.

    `inside`: it is cut in the middle, because names begin alike or end alike.
    """

    least: int = 0
    inside: bool = False
    right: bool = False


NAME = Column(least=1, inside=True)
WORDS = Column(least=SOME_WORDS)
FIGURE = Column(right=True)
LABEL = Column()
MAY_LACK = Column(least=WHOLE)


class Listing:
    """Rows under heads. Where room is short, names get it first, then others that may be cut.

    These do so from the left; one for which there is not enough is left out.
    """

    def __init__(self, columns: dict[str, Column]) -> None:
        self._columns = columns
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """One cell for each column: markup, or text."""
        texts = [Text.from_markup(each) if isinstance(each, str) else each for each in cells]
        self._rows.append(texts)

    @property
    def width(self) -> int:
        """Cells that it takes if nothing is cut."""
        return sum(width + _GAP for width in self._whole()) - _GAP

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._fitted(options.max_width)
        table = Table(box=None, pad_edge=False)
        for head, column in compress(self._columns.items(), widths):
            table.add_column(head, no_wrap=True, justify="right" if column.right else "left")
        for row in self._rows:
            cells = zip(row, widths, self._columns.values(), strict=True)
            table.add_row(*(_cut(*cell) for cell in compress(cells, widths)))
        yield table

    def _whole(self) -> list[int]:
        cells = zip(*self._rows, strict=True) if self._rows else [()] * len(self._columns)
        return [
            max([len(head), *(cell.cell_len for cell in column)])
            for head, column in zip(self._columns, cells, strict=True)
        ]

    def _fitted(self, room: int) -> list[int]:
        """Cells for each column within `room`; 0 leaves it out."""
        whole, columns = self._whole(), list(self._columns.values())
        widths = [0 if column.least else wish for wish, column in zip(whole, columns, strict=True)]
        giving = [at for at, column in enumerate(columns) if column.least]
        for at in sorted(giving, key=lambda at: not columns[at].inside):
            left = room - sum(width + _GAP for width in widths if width)
            given = min(whole[at], left)
            widths[at] = given if given >= min(columns[at].least, whole[at]) else 0
        return widths


def _cut(text: Text, width: int, column: Column) -> Text:
    excess = text.cell_len - width
    if excess <= 0:
        return text
    if not column.inside:
        cut = text.copy()
        cut.truncate(width, overflow="ellipsis")
        return cut
    head = width // 2
    return text[:head] + _MARK + text[head + excess + len(_MARK) :]
