"""Answers of the REST API as people read them: pure, from JSON values to text and tables."""

from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]
"""One JSON object; its OpenAPI document says what is in it."""
