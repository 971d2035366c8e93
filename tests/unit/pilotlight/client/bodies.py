"""Writes the client's bodies after the OpenAPI document.

To be run as `python -m tests.unit.pilotlight.client.bodies`.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pilotlight
from pilotlight.client.body import Page
from tests.unit.sidecar.client import app_of
from tests.unit.sidecar.rig import Rig

FILE = Path(pilotlight.__file__).parent / "client" / "bodies.py"
Schema = dict[str, Any]

_HEAD = '''"""What goes over the wire, after the sidecar's OpenAPI document.

Not written by hand: `python -m tests.unit.pilotlight.client.bodies` writes it anew.

Words of a fixed set, such as a tier, are known to the type checker. At run time they are any
string, so that the word of a newer sidecar is no error.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pilotlight.client.body import Body, Page, Tagged

'''
_REF = "#/components/schemas/"
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
# FastAPI adds two that no route of ours answers with.
_LEFT_OUT = {"HTTPValidationError", "ValidationError"}
_RENAMED = {"Problem": "ProblemBody"}
# JSON has no other keys than text, and the document does not say which of them are versions.
_BY_VERSION = {"rejected_versions", "served", "weights"}


async def document() -> Schema:
    """Of a sidecar as it is."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder))
        rig.start()
        found = app_of(rig).openapi()
        await rig.sidecar.die()
    return found


def written(document: Schema) -> str:
    """The module, formatted."""
    schemas: dict[str, Schema] = {
        name: schema
        for name, schema in document["components"]["schemas"].items()
        if name not in _LEFT_OUT
    }
    words = {name: schema for name, schema in schemas.items() if "enum" in schema}
    tagged = set(_tagged(document))

    def base(name: str) -> str:
        if "next_page_token" in schemas[name]["properties"]:
            return "Page"
        return "Tagged" if name in tagged else "Body"

    known = (
        f"    {name} = Literal[{', '.join(map(repr, schema['enum']))}]\n"
        for name, schema in words.items()
    )
    parts = [
        _HEAD,
        "if TYPE_CHECKING:\n",
        *known,
        "else:\n",
        *(f"    {name} = str\n" for name in words),
        *(
            _class(name, schemas[name], base(name))
            for name in _dependent_last(schemas)
            if name not in words
        ),
    ]
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(FILE), "-"]
    done = subprocess.run(command, input="".join(parts), capture_output=True, text=True, check=True)
    return done.stdout


def _tagged(document: Schema) -> Iterator[str]:
    """Bodies of what a PUT or a PATCH changes for who has read it."""
    for item in document["paths"].values():
        for operation in item.values():
            names = {each["name"] for each in operation.get("parameters", [])}
            answer = operation["responses"].get("200")
            if "if-match" in names and answer:
                yield answer["content"]["application/json"]["schema"]["$ref"].removeprefix(_REF)


def _dependent_last(schemas: dict[str, Schema]) -> list[str]:
    order: list[str] = []

    def visit(name: str) -> None:
        for other in sorted(_refs(schemas[name])):
            if other not in order:
                visit(other)
        if name not in order:
            order.append(name)

    for name in sorted(schemas):
        visit(name)
    return order


def _refs(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(ref := schema.get("$ref"), str):
            yield ref.removeprefix(_REF)
        for inner in schema.values():
            yield from _refs(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _refs(inner)


def _class(name: str, schema: Schema, base: str) -> str:
    lines = [f"\n\nclass {_RENAMED.get(name, name)}({base}):\n"]
    if "description" in schema:
        indented = schema["description"].replace("\n", "\n    ").replace("    \n", "\n")
        end = "\n    " if "\n" in indented else ""
        lines.append(f'    """{indented}{end}"""\n\n')
    required = schema.get("required", [])
    for field, inner in schema["properties"].items():
        if base != "Page" or field not in Page.model_fields:
            default = "" if field in required else f" = {_default(inner)}"
            lines.append(f"    {field}: {_type(inner, field)}{default}\n")
    return "".join(lines)


def _default(schema: Schema) -> str:
    match schema:
        case {"$ref": ref, "default": dict()}:
            return f"Field(default_factory={ref.removeprefix(_REF)})"
        case {"type": "object"}:
            return "Field(default_factory=dict)"
        case {"type": "array"}:
            return "()"
        case _:
            return repr(schema.get("default"))


def _type(schema: Schema, field: str) -> str:
    """`field` is where it stands."""
    match schema:
        case {"anyOf": options}:
            return " | ".join(_type(option, field) for option in options)
        case {"type": "array", "items": items}:
            return f"tuple[{_type(items, field)}, ...]"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"dict[{'int' if field in _BY_VERSION else 'str'}, {_type(values, field)}]"
        case {"type": "object", "patternProperties": dict(by_pattern)}:
            (values,) = by_pattern.values()
            return f"dict[str, {_type(values, field)}]"
        case _:
            return _plain_type(schema)


def _plain_type(schema: Schema) -> str:
    match schema:
        case {"$ref": ref}:
            name = str(ref).removeprefix(_REF)
            return _RENAMED.get(name, name)
        case {"const": word}:
            return f"Literal[{word!r}]"
        case {"type": "string", "format": "date-time"}:
            return "datetime"
        case {"type": [*several]}:
            return " | ".join(_PLAIN[each] for each in several)
        case _:
            return _PLAIN.get(str(schema.get("type")), "object")


if __name__ == "__main__":
    FILE.write_text(written(asyncio.run(document())))
