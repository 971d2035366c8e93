"""Durations in a query."""

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from contract.durations import DURATION_PATTERN, parse_duration_s

Duration = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION_PATTERN}$", "examples": ["30s"]}),
]
"""Seconds in the program, text on the wire."""
