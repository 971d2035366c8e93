"""`python -m pilotlight.schema.generate` writes the schemas anew, after the code has changed."""

import json

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

from contract.strict import SCHEMA_VERSION, Document
from generator.recipe import Recipe
from pilotlight.schema import FOLDER, Kind
from sidecar.settings import Settings

_READ_BY: dict[Kind, type[Document]] = {Kind.SETTINGS: Settings, Kind.RECIPE: Recipe}


class _ForEditors(GenerateJsonSchema):
    """As strict as the code, and without titles that only repeat the keys."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        # Keys of another pattern are unknown keys too.
        return found | {"additionalProperties": False} if "patternProperties" in found else found


def generate(kind: Kind) -> str:
    schema: JsonSchemaValue = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pilotlight:schema:v{SCHEMA_VERSION}:{kind}",
        **_READ_BY[kind].model_json_schema(schema_generator=_ForEditors),
        "title": f"Pilotlight {kind}",
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    for kind in Kind:
        (FOLDER / f"{kind}.json").write_text(generate(kind), encoding="utf-8")
