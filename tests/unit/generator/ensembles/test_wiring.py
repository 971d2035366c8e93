from typing import Any

import pytest

from contract.config import parse_config
from contract.dtypes import Datatype
from contract.manifest import Signature, TensorSpec
from generator.ensembles.config import ensemble_config
from generator.ensembles.wiring import wire
from generator.errors import EnsembleRefused
from generator.recipe import EnsembleRecipe

ENSEMBLE = EnsembleRecipe.model_validate(
    {
        "name": "pipeline",
        "inputs": ["TEXT", "DENSE"],
        "outputs": ["SCORE"],
        "steps": [
            {"model": "tokens", "inputs": {"text": "TEXT"}, "outputs": {"ids": "ids"}},
            {
                "model": "ranker",
                "inputs": {"ids": "ids", "dense": "DENSE"},
                "outputs": {"score": "SCORE"},
            },
        ],
    }
)


def spec(name: str, *shape: int, datatype: Datatype = Datatype.INT64) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


VARYING, FIXED = spec("ids", -1), spec("ids", 16)


def tokens(ids: TensorSpec = VARYING, *, max_batch_size: int = 8) -> Signature:
    text = spec("text", 1, datatype=Datatype.BYTES)
    return Signature(inputs=(text,), outputs=(ids,), max_batch_size=max_batch_size)


def ranker(ids: TensorSpec = FIXED, *, max_batch_size: int = 4) -> Signature:
    dense = spec("dense", 3, datatype=Datatype.FP32)
    score = spec("score", 2, datatype=Datatype.FP32)
    return Signature(inputs=(dense, ids), outputs=(score,), max_batch_size=max_batch_size)


def refusal(**signatures: Signature) -> str:
    with pytest.raises(EnsembleRefused) as refused:
        wire(ENSEMBLE, signatures)
    return str(refused.value)


def test_a_client_sees_the_tensors_at_both_ends_and_the_smallest_batch() -> None:
    assert wire(ENSEMBLE, {"tokens": tokens(), "ranker": ranker()}) == Signature(
        inputs=(
            spec("TEXT", 1, datatype=Datatype.BYTES),
            spec("DENSE", 3, datatype=Datatype.FP32),
        ),
        outputs=(spec("SCORE", 2, datatype=Datatype.FP32),),
        max_batch_size=4,
    )


def test_a_size_that_one_of_two_models_fixes_is_fixed_for_the_ensemble() -> None:
    shared = EnsembleRecipe.model_validate(
        {
            "name": "twice",
            "inputs": ["IDS"],
            "outputs": ["A", "B"],
            "steps": [
                {"model": "free", "inputs": {"ids": "IDS"}, "outputs": {"y": "A"}},
                {"model": "fixed", "inputs": {"ids": "IDS"}, "outputs": {"y": "B"}},
            ],
        }
    )

    def model(size: int) -> Signature:
        return Signature(inputs=(spec("ids", size),), outputs=(spec("y", 2),), max_batch_size=1)

    assert wire(shared, {"free": model(-1), "fixed": model(7)}).inputs == (spec("IDS", 7),)


def test_a_model_without_batches_takes_the_full_shape_of_one_with() -> None:
    without = ranker(spec("ids", -1, 16), max_batch_size=0)

    signature = wire(ENSEMBLE, {"tokens": tokens(), "ranker": without})

    assert signature.max_batch_size == 0
    assert signature.inputs[0] == spec("TEXT", -1, 1, datatype=Datatype.BYTES)


@pytest.mark.parametrize(
    ("signatures", "said"),
    [
        (
            {"tokens": tokens(), "ranker": ranker(spec("ids", 16, datatype=Datatype.INT32))},
            "tensor 'ids' is INT64[-1, -1] for output ids of steps.0 (tokens), but INT32[-1, 16] "
            "for input ids of steps.1 (ranker); cast it",
        ),
        (
            {"tokens": tokens(spec("ids", 8)), "ranker": ranker()},
            "tensor 'ids' is INT64[-1, 8] for output ids of steps.0 (tokens), but INT64[-1, 16] "
            "for input ids of steps.1 (ranker); put a model that reshapes",
        ),
        (
            {"tokens": tokens(), "ranker": ranker(max_batch_size=0)},
            "tensor 'ids' is INT64[-1, -1] for output ids of steps.0 (tokens), but INT64[16] for",
        ),
        (
            {"tokens": tokens(spec("id", -1)), "ranker": ranker()},
            "steps.0 (tokens): the model has no output 'ids'; did you mean 'id'?",
        ),
        (
            {"tokens": tokens(), "ranker": ranker(spec("tokens", -1))},
            "steps.1 (ranker): the model has no input 'ids'; known: dense, tokens; "
            "steps.1 (ranker): nothing goes into input tokens INT64[-1]; add tokens: TENSOR",
        ),
    ],
)
def test_what_does_not_fit_names_step_tensor_and_both_types(
    signatures: dict[str, Signature], said: str
) -> None:
    assert said in refusal(**signatures)


def test_the_config_chains_the_steps_and_has_neither_warm_up_nor_instances() -> None:
    signature = wire(ENSEMBLE, {"tokens": tokens(), "ranker": ranker()})
    config: Any = parse_config(ensemble_config(ENSEMBLE, signature), "test")

    assert (config.name, config.platform, config.max_batch_size) == ("pipeline", "ensemble", 4)
    assert [(each.name, list(each.dims)) for each in config.input] == [
        ("TEXT", [1]),
        ("DENSE", [3]),
    ]
    assert [
        (step.model_name, step.model_version, dict(step.input_map), dict(step.output_map))
        for step in config.ensemble_scheduling.step
    ] == [
        ("tokens", -1, {"text": "TEXT"}, {"ids": "ids"}),
        ("ranker", -1, {"ids": "ids", "dense": "DENSE"}, {"score": "SCORE"}),
    ]
    assert not config.model_warmup
    assert not config.instance_group
