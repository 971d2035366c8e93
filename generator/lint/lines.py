"""On which line of a `config.pbtxt` a field stands; a parsed message no longer knows."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<word>[\w.+-]+)|(?P<sign>.)"""
)
_BETWEEN = (",", ";")
_OPENS = {"{": "}", "<": ">"}
_END = ("end", "", 0)

Step = str | int
_Token = tuple[str, str, int]


@dataclass(slots=True)
class _Node:
    """A value: of a scalar the text, of a message the values of its fields."""

    line: int
    text: str = ""
    fields: "dict[str, list[_Node]]" = field(default_factory=dict)


class Lines:
    """The fields of a text that protobuf has parsed."""

    def __init__(self, text: str) -> None:
        tokens = _tokens(text)
        tokens.reverse()
        self._root = _Node(1)
        _read_fields(tokens, self._root)

    def of(self, *path: Step) -> int:
        """The line of a field, or of the nearest one around it that is written.

        A number picks one of several of a name, a string after the name of a map one of its keys:
        `of("model_warmup", 1, "inputs", "ids", "dims")`.
        """
        found = [self._root]
        for step in path:
            inside = _inside(found, step)
            if not inside:
                break
            found = inside
        return found[0].line


def _inside(nodes: Sequence[_Node], step: Step) -> list[_Node]:
    if isinstance(step, int):
        return list(nodes[step : step + 1])
    for node in nodes:
        if any(key.text == step for key in node.fields.get("key", ())):
            return node.fields.get("value", [node])
    return nodes[0].fields.get(step, [])


def _tokens(text: str) -> list[_Token]:
    found, line = [], 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match[0], line))
        line += match[0].count("\n")
    return found


def _read_fields(tokens: list[_Token], node: _Node, closing: str = "") -> None:
    """`tokens` are taken from the end."""
    while tokens:
        _, name, line = tokens.pop()
        if name == closing:
            return
        if name in _BETWEEN:
            continue
        if _next(tokens)[1] == ":":
            tokens.pop()
        node.fields.setdefault(name, []).extend(_read_values(tokens, line))


def _read_values(tokens: list[_Token], line: int) -> Iterator[_Node]:
    """Those of a list each have a line of their own."""
    if _next(tokens)[1] != "[":
        yield _read_value(tokens, line)
        return
    tokens.pop()
    while tokens and _next(tokens)[1] != "]":
        yield _read_value(tokens, _next(tokens)[2])
        if _next(tokens)[1] in _BETWEEN:
            tokens.pop()
    if tokens:
        tokens.pop()


def _read_value(tokens: list[_Token], line: int) -> _Node:
    node = _Node(line)
    kind, text, _ = tokens.pop() if tokens else _END
    if text in _OPENS:
        _read_fields(tokens, node, _OPENS[text])
        return node
    node.text = text.strip("\"'")
    # Strings side by side are one.
    while kind == "text" and _next(tokens)[0] == "text":
        node.text += tokens.pop()[1].strip("\"'")
    return node


def _next(tokens: list[_Token]) -> _Token:
    return tokens[-1] if tokens else _END
