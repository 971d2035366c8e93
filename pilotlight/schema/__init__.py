"""JSON Schemas of the files that people write: for editors, and to check a file before it is used.

v1/settings.json  what `pilotlight serve` reads
v1/recipe.json    what `pilotlight build` reads

They are generated from the code that reads those files and come with the package, so that showing
one needs no extra. `v1` is the files' `schema_version`: within it a schema may come to allow more,
never less.
"""

from enum import StrEnum
from pathlib import Path

from contract.strict import SCHEMA_VERSION

FOLDER = Path(__file__).parent / f"v{SCHEMA_VERSION}"


class Kind(StrEnum):
    """A kind of file."""

    SETTINGS = "settings"
    RECIPE = "recipe"


def published(kind: Kind) -> str:
    """The schema as text, draft 2020-12."""
    return (FOLDER / f"{kind}.json").read_text(encoding="utf-8")
