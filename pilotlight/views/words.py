"""Figures and times as people read them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from contract.bytes import format_bytes

T = TypeVar("T")

NONE = "-"
_THREE_DIGITS = 100
_LEAST = 0.001
_UNITS_S = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def figure(value: float) -> str:
    """Three digits, and all that stand before the point: `0.034`, `1.5`, `12500`."""
    if 0 < value < _LEAST:
        return f"<{_LEAST}"
    return f"{value:.0f}" if value >= _THREE_DIGITS else f"{value:.3g}"


def seconds(value_s: float) -> str:
    """Below one second in milliseconds."""
    return f"{figure(value_s)} s" if value_s >= 1 else f"{figure(1000 * value_s)} ms"


def span(value_s: float) -> str:
    """To the second or coarser, in the largest unit that fits twice: `90 min`, `2 h`."""
    for unit, unit_s in _UNITS_S:
        if value_s >= 2 * unit_s:
            return f"{value_s / unit_s:.0f} {unit}"
    return f"{max(0.0, value_s):.0f} s"


def passed(then: str, now: datetime) -> str:
    return span((now - moment(then)).total_seconds())


def ago(then: str, now: datetime) -> str:
    return f"{passed(then, now)} ago"


def ahead(then: str, now: datetime) -> str:
    return f"in {span((moment(then) - now).total_seconds())}"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def clock(text: str) -> str:
    """A time of the API to the second, in UTC as the log has it."""
    return moment(text).strftime("%Y-%m-%d %H:%M:%SZ")


def or_none(value: T | None, words: Callable[[T], str]) -> str:
    return NONE if value is None else words(value)


def spoken(name: str) -> str:
    """`canary_loading` as people say it."""
    return name.replace("_", " ")


def brief(text: str) -> str:
    """The first line of what a library said at length."""
    return text.partition("\n")[0]


def error(value: float) -> str:
    """Of outputs, however small: `1.2e-06`."""
    return f"{value:.3g}"


def numbers(named: Mapping[str, float | None]) -> str:
    """`freed 2.0 GiB, idle 12 min, score 0.25`."""
    return ", ".join(spoken(_number(name, value)) for name, value in named.items())


def _number(name: str, value: float | None) -> str:
    """The unit is the end of the name; null was infinite."""
    for unit, words in _BY_UNIT.items():
        if name.endswith(f"_{unit}"):
            return f"{name.removesuffix(f'_{unit}')} {_finite(value, words)}"
    return f"{name} {_finite(value, error if name.endswith('_error') else figure)}"


def _finite(value: float | None, words: Callable[[float], str]) -> str:
    return "infinite" if value is None else words(value)


_BY_UNIT: dict[str, Callable[[float], str]] = {
    "bytes": lambda value: format_bytes(int(value)),
    "ms": lambda value: f"{figure(value)} ms",
    "s": span,
    "share": lambda value: f"{figure(100 * value)} %",
}


def counted(number: int, what: str) -> str:
    """`1 model`, `2 models`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
