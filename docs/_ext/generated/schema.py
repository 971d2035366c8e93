"""JSON Schemas in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from generated.markdown import code, table

Schema = Mapping[str, Any]
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "gt": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


class Definitions:
    """The named schemas of one document; `links` leads to those that have a place on the page."""

    def __init__(self, named: Mapping[str, Schema], links: Mapping[str, str]) -> None:
        self.named = named
        self._links = links

    def resolved(self, schema: Schema) -> Schema:
        return self.named[name] if (name := reference(schema)) else schema

    def keys(self, schema: Schema) -> str:
        """A table of an object's keys."""
        required = schema.get("required", [])
        return table(
            ["Key", "Type", "Default", "Meaning"],
            (
                [
                    code(key),
                    self.words(each),
                    "required" if key in required else _default(each),
                    self._meaning(each),
                ]
                for key, each in schema["properties"].items()
            ),
        )

    def words(self, schema: Schema) -> str:
        """What a value looks like: `number, above 0`, `list of integers`."""
        if (name := reference(schema)) in self._links:
            return self._links[name]
        found = self.resolved(schema)
        if values := found.get("enum", [found["const"]] if "const" in found else []):
            return " or ".join(code(value) for value in values)
        if choices := alternatives(found):
            said = [self.words(each) for each in choices if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(said))
        if found.get("type") == "array":
            return self._list(found)
        if "patternProperties" in found or isinstance(found.get("additionalProperties"), Mapping):
            return self._mapping(found)
        return _plain(found)

    def _list(self, schema: Schema) -> str:
        if "prefixItems" in schema:
            inside = ", ".join(self.words(each) for each in schema["prefixItems"])
            return f"list of [{inside}]" if not inside.startswith("[") else f"list of {inside}"
        return f"list of {self.words(schema.get('items', {}))}"

    def _mapping(self, schema: Schema) -> str:
        patterns = schema.get("patternProperties", {})
        values = next(iter(patterns.values()), schema.get("additionalProperties"))
        names = self.words(schema["propertyNames"]) if "propertyNames" in schema else "name"
        return f"map of {names} to {self.words(values)}"

    def _meaning(self, schema: Schema) -> str:
        """Its own words, or those of the enumeration that it is of."""
        if (said := schema.get("description")) is not None:
            return str(said)
        found = self.resolved(schema)
        return str(found.get("description", "")) if "enum" in found else ""


def reference(schema: Schema) -> str:
    """The name of the only schema that it refers to, also as one of two: `... or null`."""
    places = (schema, *alternatives(schema), *schema.get("allOf", ()))
    found = [str(each["$ref"]).rpartition("/")[2] for each in places if "$ref" in each]
    return found[0] if len(found) == 1 else ""


def alternatives(schema: Schema) -> Sequence[Schema]:
    return schema.get("anyOf") or schema.get("oneOf") or ()


def _plain(schema: Schema) -> str:
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        return " or ".join(kind)
    limits = [f"{word} {schema[key]:,}" for key, word in _LIMITS.items() if key in schema]
    said = "path" if schema.get("format") == "path" else kind
    return f"{said} {' and '.join(limits)}".strip()


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value in (None, [], {}) or isinstance(value, dict):
        return ""
    return code(str(value).lower() if isinstance(value, bool) else value)
