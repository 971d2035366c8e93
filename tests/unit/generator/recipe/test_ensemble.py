from pathlib import Path
from typing import Any

import pytest
import yaml

from generator.errors import RecipeError
from generator.recipe import EnsembleRecipe, load_recipe
from tests.unit.generator.entries import raw

STEPS: list[dict[str, Any]] = [
    {"model": "embed", "inputs": {"ids": "IDS"}, "outputs": {"vector": "vector"}},
    {"model": "ranker", "inputs": {"x": "vector", "dense": "DENSE"}, "outputs": {"score": "SCORE"}},
]


def chained(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "pipeline",
        "inputs": ["IDS", "DENSE"],
        "outputs": ["SCORE"],
        "steps": list(steps or STEPS),
    } | changes


def step(index: int, **changes: Any) -> dict[str, Any]:
    return STEPS[index] | changes


def load(folder: Path, *ensembles: dict[str, Any]) -> tuple[EnsembleRecipe, ...]:
    path = folder / "models.yaml"
    top = {"triton": "24.10", "target": "cpu", "models": [raw()], "ensembles": list(ensembles)}
    path.write_text(yaml.safe_dump(top))
    return load_recipe(path).ensembles


def test_steps_run_after_those_whose_tensors_they_take_however_they_are_listed(
    tmp_path: Path,
) -> None:
    (ensemble,) = load(tmp_path, chained(*reversed(STEPS)))

    assert [step.model for step in ensemble.run_order()] == ["embed", "ranker"]


def test_two_steps_may_be_of_one_model(tmp_path: Path) -> None:
    twice = [
        {"model": "embed", "inputs": {"ids": tensor}, "outputs": {"vector": tensor.lower()}}
        for tensor in ("A", "B")
    ]
    (ensemble,) = load(tmp_path, chained(*twice, inputs=["A", "B"], outputs=["a", "b"]))

    assert ensemble.models == ("embed",)
    assert [ensemble.label(step) for step in ensemble.steps] == [
        "steps.0 (embed)",
        "steps.1 (embed)",
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            chained(STEPS[0], step(1, inputs={"x": "vektor", "dense": "DENSE"})),
            "steps.1 (ranker): input x takes 'vektor', which no step makes and which is not among "
            "inputs; did you mean 'vector'?",
        ),
        (chained(outputs=["SCORES"]), "no step makes the output 'SCORES'; did you mean 'SCORE'?"),
        (
            chained(outputs=["SCORE", "DENSE"]),
            "no step makes the output 'DENSE'; known: SCORE, vector",
        ),
        (
            chained(inputs=["IDS", "DENSE", "extra"]),
            "'extra' of inputs goes nowhere; take it out there",
        ),
        (
            chained(step(0, outputs={"vector": "vector", "norm": "norm"}), STEPS[1]),
            "'norm' of steps.0 (embed) goes nowhere; take it out there",
        ),
        (
            chained(*STEPS, step(1, outputs={"other": "SCORE"})),
            "'SCORE' comes from steps.1 (ranker) and steps.2 (ranker); give each a name",
        ),
        (
            chained(step(0, outputs={"vector": "IDS"}), STEPS[1]),
            "'IDS' comes from inputs and steps.0 (embed); give each a name of its own",
        ),
        (
            chained(
                step(0, inputs={"ids": "IDS", "again": "SCORE"}),
                STEPS[1],
            ),
            "steps wait for each other in a circle: steps.0 (embed) for SCORE and "
            "steps.1 (ranker) for vector; break the circle",
        ),
        (chained(step(0, model="a/b"), STEPS[1]), "steps.0.model: 'a/b' is no model name"),
        (chained(step(0, modl="x"), STEPS[1]), "steps.0: unknown key 'modl'; did you mean 'model'"),
        (chained(steps=[]), "steps: needs at least one entry"),
    ],
)
def test_what_is_wired_wrongly_is_named_with_a_remedy(
    tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        load(tmp_path, entry)

    assert f"ensemble pipeline: {said}" in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([chained(name="ranker")], "ensemble ranker: the name is taken by a model"),
        ([chained(), chained()], "ensemble pipeline: the name is taken by another ensemble"),
    ],
)
def test_an_ensemble_has_a_name_of_its_own(
    tmp_path: Path, entries: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        load(tmp_path, *entries)

    assert said in str(refused.value)
