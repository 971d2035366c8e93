from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.intent import Tier
from generator.errors import RecipeError
from generator.recipe import load_recipe
from tests.unit.generator.entries import IDS, MASK, SEQ, TOKENS, raw


def write(folder: Path, *models: dict[str, Any], **top: Any) -> Path:
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump({"triton": "24.10", "target": "cpu", "models": models} | top))
    return path


def refusal(path: Path, *, triton: str | None = None) -> str:
    with pytest.raises(RecipeError) as refused:
        load_recipe(path, triton=triton)
    return str(refused.value)


def test_reads_an_entry_with_its_defaults(tmp_path: Path) -> None:
    (model,) = load_recipe(write(tmp_path, raw(tier="hot"))).models

    assert model.tier is Tier.HOT
    assert (model.version, model.instances, model.batching) == (None, 1, None)


def test_the_shipped_recipes_are_valid() -> None:
    folder = Path(__file__).parents[4] / "examples" / "recommender"

    for name in ("models.yaml", "candidates.yaml"):
        assert load_recipe(folder / name).models


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instnces": 2}, "model ranker: unknown key 'instnces'; did you mean 'instances'?"),
        (
            {"inputs": [IDS | {"dtpye": "INT64"}]},
            "model ranker: input ids: unknown key 'dtpye'; did you mean 'dtype'?",
        ),
        ({"batching": {"prefered": [4]}}, "batching: unknown key 'prefered'; did you mean"),
        ({"zzz": 1}, "unknown key 'zzz'; known: "),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = write(tmp_path, raw(**change))

    assert refusal(path).startswith(f"{path}: model ranker: ")
    assert said in refusal(path)


@pytest.mark.parametrize("version", [0, -1, "007", "2abc", 1.5, True, 10**20])
def test_refuses_a_version_that_triton_would_misread(tmp_path: Path, version: object) -> None:
    path = write(tmp_path, raw(version=version))

    assert f"version: version {str(version)!r} is not a positive integer" in refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../up"}, "name: '../up' is no model name"),
        ({"source": "models.py"}, "source: 'models.py' is not of the form module:callable"),
        ({"inputs": [IDS | {"range": None}]}, "input ids is INT64: give range: [low, high)"),
        ({"inputs": [IDS | {"range": [5, 5]}]}, "range [5, 5] must be [low, high) with low < high"),
        ({"inputs": [IDS | {"dtype": "UINT32"}]}, "PyTorch does not compute with UINT32"),
        ({"inputs": [IDS | {"name": "a b"}]}, "'a b' is no tensor name"),
        ({"inputs": [TOKENS]}, "dimension 'seq' has no entry in dims"),
        ({"dims": SEQ}, "dims.seq is in no input's shape"),
        (
            {"inputs": [TOKENS], "dims": {"seq": {"min": 1, "opt": 99, "max": 64}}},
            "dims.seq: min 1, opt 99, max 64: wanted min <= opt <= max and min < max",
        ),
        (
            {"inputs": [TOKENS], "dims": {"seq": {"min": 8, "opt": 8, "max": 8}}},
            "write a fixed size as a number into the shape",
        ),
        (
            {"inputs": [IDS | {"dtype": "INT46"}]},
            "model ranker: input ids: dtype: 'INT46' cannot stand here; did you mean 'INT64'? It "
            "takes 'BOOL', ",
        ),
        ({"inputs": [IDS | {"dtype": "fp32"}]}, "'fp32' cannot stand here; did you mean 'FP32'?"),
        ({"inputs": [{"dtype": "FP32"}]}, "model ranker: inputs.0.name: this key is missing"),
        ({"outputs": [{"name": "score", "top_k": 0}]}, "model ranker: output score: top_k: "),
        ({"outputs": ["ids"]}, "tensor name 'ids' is used 2 times"),
        ({"outputs": []}, "outputs: needs at least one entry"),
        ({"inputs": [IDS | {"shape": []}]}, "Triton has no inputs without a dimension; write [1]"),
    ],
)
def test_says_what_is_impossible(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert said in refusal(write(tmp_path, raw(**change)))


def test_a_mask_needs_no_range(tmp_path: Path) -> None:
    mask = MASK | {"dtype": "INT64"}

    assert load_recipe(write(tmp_path, raw(inputs=[TOKENS, mask], dims=SEQ)))


def test_refuses_a_version_that_two_entries_want(tmp_path: Path) -> None:
    said = "model ranker has 2 entries; give each a version of its own"

    for models in ([raw(version=2), raw(version=2)], [raw(), raw()], [raw(version=2), raw()]):
        assert said in refusal(write(tmp_path, *models))


def test_refuses_names_that_would_be_one_folder(tmp_path: Path) -> None:
    path = write(tmp_path, raw(), raw(name="Ranker"))

    assert "ranker and Ranker differ in upper and lower case only; rename one" in refusal(path)


def test_a_release_without_quotes_is_a_number_and_refused(tmp_path: Path) -> None:
    path = write(tmp_path, raw())
    path.write_text(path.read_text().replace("'24.10'", "24.10"))

    assert 'triton: 24.1 is no release; write it in quotes, like "24.10"' in refusal(path)


def test_refuses_a_release_older_than_what_was_tried(tmp_path: Path) -> None:
    assert "release 23.01 is older than 24.10" in refusal(write(tmp_path, raw(), triton="23.01"))


@pytest.fixture
def without_release(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump({"target": "cpu", "models": [raw()]}))
    return path


def test_the_build_may_name_the_release_that_the_recipe_leaves_out(without_release: Path) -> None:
    assert load_recipe(without_release, triton="25.03").triton == "25.03"


def test_recipe_and_build_may_name_the_same_release(tmp_path: Path) -> None:
    path = write(tmp_path, raw(), triton="25.03")

    assert load_recipe(path, triton="25.03").triton == "25.03"


def test_two_releases_are_refused_with_both_names(tmp_path: Path) -> None:
    path = write(tmp_path, raw(), triton="24.10")

    assert refusal(path, triton="25.03") == (
        f"{path}: recipe: triton: the recipe says 24.10, the build was asked for 25.03; take "
        "`triton` out of the recipe, or build for 24.10"
    )


def test_no_release_at_all_is_refused_with_both_ways_to_say_it(without_release: Path) -> None:
    said = refusal(without_release)

    assert 'write triton: "24.10", or say it to `pilotlight build --triton 24.10`' in said


def test_a_release_that_the_build_names_is_looked_at_too(without_release: Path) -> None:
    assert "release 23.01 is older than 24.10" in refusal(without_release, triton="23.01")


def test_a_recipe_of_a_newer_format_is_refused_as_such(tmp_path: Path) -> None:
    path = write(tmp_path, raw(), schema_version=2, stores=[])

    assert refusal(path).startswith(f"{path}: recipe: schema_version 2 is newer than 1")


def test_reports_every_problem_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, raw(version=0), raw(name="other", instances=0))

    assert [line.split(": ")[1] for line in refusal(path).splitlines()] == [
        "model ranker",
        "model other",
    ]


def test_says_where_yaml_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models: [")

    assert f"recipe {path} is no YAML: " in refusal(path)
    assert f'in "{path}", line 2, column 1' in refusal(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nope.yaml"

    assert refusal(path) == (
        f"recipe {path} cannot be read: No such file or directory; name another, or let "
        "`pilotlight init` write one"
    )


@pytest.mark.parametrize("content", ["", "[]", "models: 3", "models: [3]"])
def test_refuses_what_is_no_recipe_at_all(tmp_path: Path, content: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(content)

    assert refusal(path).startswith(f"{path}: ")
