"""Sizes of memory and files as people write and read them."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveInt

_UNITS = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_bytes(text: str) -> int:
    """`12GiB`, `1.5 GB` or a bare number of bytes.

    Raises:
        ValueError: the text is no size, or its unit is not known.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2] not in _UNITS:
        units = ", ".join(filter(None, _UNITS))
        raise ValueError(f"{text!r} is no size; write for example '12GiB' (units: {units})")
    return round(Decimal(found[1]) * _UNITS[found[2]])


def _parsed(size: object) -> object:
    return parse_bytes(size) if isinstance(size, str) else size


_Written = Annotated[str, Field(pattern=rf"^\s*\d+(\.\d+)?\s*({'|'.join(_UNITS)})\s*$")]
Size = Annotated[
    PositiveInt, BeforeValidator(_parsed, json_schema_input_type=PositiveInt | _Written)
]
"""A key of a file that takes what `parse_bytes` reads."""


def format_bytes(count: int) -> str:
    """To one decimal in the largest unit of 1024 that fits: `12.0 GiB`; below that `700 B`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(count) >= _UNITS[unit]:
            return f"{count / _UNITS[unit]:.1f} {unit}"
    return f"{count} B"
