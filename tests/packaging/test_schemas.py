"""The published schemas say what the code reads."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from contract.strict import SCHEMA_VERSION
from generator.recipe import load_recipe
from pilotlight.schema import Kind, published
from pilotlight.schema.generate import generate
from sidecar.settings import load_settings
from tests.packaging.conftest import ROOT

RECIPES = sorted((ROOT / "examples").rglob("*.yaml"))
SETTINGS = sorted((ROOT / "deploy").glob("pilotlight*.yaml"))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def is_valid(kind: Kind, content: object) -> bool:
    return Draft202012Validator(json.loads(published(kind))).is_valid(content)


def misspelt(content: Any, root: Any) -> Iterator[Any]:
    """Copies of `root`, each with one key of `content` misspelt."""
    if isinstance(content, dict):
        for key, value in list(content.items()):
            content[f"{key}x"] = content.pop(key)
            yield copy.deepcopy(root)
            content[key] = content.pop(f"{key}x")
            yield from misspelt(value, root)
    elif isinstance(content, list):
        for item in content:
            yield from misspelt(item, root)


@pytest.mark.parametrize("kind", Kind)
def test_what_is_published_is_what_the_code_says(kind: Kind) -> None:
    """Otherwise: `python -m pilotlight.schema.generate`, and read the diff."""
    assert published(kind) == generate(kind)


@pytest.mark.parametrize("kind", Kind)
def test_a_schema_is_one_and_names_its_version(kind: Kind) -> None:
    schema = json.loads(published(kind))

    Draft202012Validator.check_schema(schema)
    assert schema["$id"].endswith(f":v{SCHEMA_VERSION}:{kind}")
    assert schema["properties"]["schema_version"]["const"] == SCHEMA_VERSION


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path)
    assert is_valid(Kind.RECIPE, read(path))


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_the_shipped_settings_are_valid(path: Path) -> None:
    assert load_settings(path)
    assert is_valid(Kind.SETTINGS, read(path))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_misspelt_key_of_a_recipe_is_refused(path: Path) -> None:
    content = read(path)
    del content["triton"]
    for model in content["models"]:
        model.pop("args", None), model.pop("dims", None)
    wrong = list(misspelt(content, content))

    assert len(wrong) > len(content["models"])
    assert [case for case in wrong if is_valid(Kind.RECIPE, case)] == []


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_a_misspelt_key_of_the_settings_is_refused(path: Path) -> None:
    content = read(path)
    wrong = list(misspelt(content, content))

    assert len(wrong) > len(content)
    assert [case for case in wrong if is_valid(Kind.SETTINGS, case)] == []


def test_a_recipe_may_leave_the_release_to_the_build_but_not_write_a_number() -> None:
    recipe = read(RECIPES[0])
    del recipe["triton"]

    assert is_valid(Kind.RECIPE, recipe)
    assert not is_valid(Kind.RECIPE, recipe | {"triton": 24.10})


@pytest.mark.parametrize(("budget", "valid"), [("12GiB", True), (1024, True), ("12 Gb", False)])
def test_a_size_is_text_with_a_unit_or_a_number(budget: object, valid: bool) -> None:  # noqa: FBT001
    settings = read(SETTINGS[0]) | {"policy": {"budgets": {"cpu": budget}}}

    assert is_valid(Kind.SETTINGS, settings) is valid


@pytest.mark.parametrize("kind", Kind)
def test_every_section_explains_itself(kind: Kind) -> None:
    sections = json.loads(published(kind))["$defs"].items()

    unexplained = [name for name, said in sections if said and "description" not in said]
    assert unexplained == []
