"""Durations as people write them: `500ms`, `30s`, `2m`."""

import re

DURATION_PATTERN = r"\d{1,6}(\.\d{1,6})?(ms|s|m)"
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}


def parse_duration_s(text: str) -> float:
    """Raises ValueError when the text is no duration."""
    found = re.fullmatch(DURATION_PATTERN, text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no duration; write for example '30s' (units: ms, s, m)")
    unit = found[2]
    return float(text.removesuffix(unit)) * _UNITS_S[unit]
