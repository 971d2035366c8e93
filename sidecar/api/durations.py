"""Durations as they stand in a query: `500ms`, `30s`, `2m`."""

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_PATTERN = r"\d{1,6}(\.\d{1,6})?(ms|s|m)"


def parse_duration_s(text: str) -> float:
    """Raises ValueError when the text is no duration."""
    found = re.fullmatch(_PATTERN, text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no duration; write for example '30s' (units: ms, s, m)")
    unit = found[2]
    return float(text.removesuffix(unit)) * _UNITS_S[unit]


Duration = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    WithJsonSchema({"type": "string", "pattern": f"^{_PATTERN}$", "examples": ["30s"]}),
]
"""Seconds in the program, text on the wire."""
