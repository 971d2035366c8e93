"""Files that people write, section by section: settings and recipe."""

import json
from collections.abc import Iterator, Mapping

from generated.markdown import paragraphs
from generated.schema import Definitions, Schema, alternatives, reference
from pilotlight.schema import Kind, published


def settings() -> str:
    return _file(Kind.SETTINGS)


def recipe() -> str:
    return _file(Kind.RECIPE)


def _file(kind: Kind) -> str:
    schema = json.loads(published(kind))
    named = schema["$defs"]
    places: dict[str, str] = {}
    for name, place in _places(schema, named):
        # What stands in several places is told at the first.
        places.setdefault(name, place)
    links = {name: f"[{place}](#{_anchor(place)})" for name, place in places.items()}
    known = Definitions(named, links)
    return paragraphs(
        "## Top level",
        schema.get("description", ""),
        known.keys(schema),
        *(
            paragraphs(
                f"({_anchor(place)})=\n## `{place}`",
                named[name].get("description", ""),
                known.keys(named[name]),
            )
            for name, place in places.items()
        ),
    )


def _places(
    schema: Schema, named: Mapping[str, Schema], above: str = ""
) -> Iterator[tuple[str, str]]:
    """Each section that is an object, and where in the file it stands."""
    for key, each in schema["properties"].items():
        for place, inside in _inside(f"{above}{key}", each):
            name = reference(inside)
            if name and "properties" in named[name]:
                yield name, _told_apart(place, each, named[name])
                yield from _places(named[name], named, f"{place}.")


def _inside(place: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """What a list or a map consists of, each of several forms, else the thing itself."""
    if schema.get("type") == "array":
        yield from _inside(f"{place}[]", schema.get("items", {}))
    elif isinstance(values := schema.get("additionalProperties"), Mapping):
        yield from _inside(f"{place}.<name>", values)
    elif not reference(schema) and (forms := alternatives(schema)):
        for form in forms:
            yield from _inside(place, form)
    else:
        yield place, schema


def _told_apart(place: str, schema: Schema, form: Schema) -> str:
    """With its kind, where an object may be of several."""
    kind = form["properties"].get("kind", {}).get("const")
    return f"{place}: {kind}" if kind and not reference(schema) else place


def _anchor(place: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in place).strip("-")
