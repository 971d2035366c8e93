from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.manifest import ShapeCost
from contract.samples import Tensors
from generator.recipe import ModelRecipe, Target
from generator.reports import GraphFacts
from generator.samples import warmup
from tests.unit.generator.entries import IDS, SEQ, TOKENS, entry, sequence

TARGETS: list[Target] = ["cpu", "gpu", "auto"]


def names(model: ModelRecipe, **where: Any) -> list[str]:
    return [sample.name for sample in warmup.plan(model, **{"target": "cpu", **where})]


@st.composite
def models(draw: st.DrawFn) -> ModelRecipe:
    used = draw(st.lists(st.sampled_from(["seq", "width", "depth"]), unique=True))
    dims = {}
    for name in used:
        smallest, usual, largest = sorted(
            draw(st.lists(st.integers(1, 300), min_size=3, max_size=3, unique=True))
        )
        dims[name] = {"min": smallest, "opt": usual, "max": largest}
    most = draw(st.integers(0, 64))
    preferred = st.lists(st.integers(1, max(1, most)), max_size=6) | st.just("auto")
    return entry(
        inputs=[TOKENS | {"shape": used or [4]}],
        dims=dims,
        max_batch_size=most,
        batching={"preferred": draw(preferred)} if most else None,
        format=draw(st.sampled_from(["onnx", "onnx-fp16", "onnx-tensorrt", "tensorrt"])),
    )


@given(models(), st.sampled_from(TARGETS), st.booleans())
def test_both_corners_are_warmed_the_largest_first(
    model: ModelRecipe,
    target: Target,
    convolutions: bool,  # noqa: FBT001  (hypothesis' way to call)
) -> None:
    plan = warmup.plan(model, target=target, has_convolutions=convolutions)

    most = {name: dim.max for name, dim in model.dims.items()}
    least = {name: dim.min for name, dim in model.dims.items()}
    assert (plan[0].batch, plan[0].dims) == (max(1, model.max_batch_size), most)
    assert (plan[-1].batch, plan[-1].dims) == (1, least)
    assert len({sample.name for sample in plan}) == len(plan)
    assert len(plan) <= 3 * 16


def test_a_cpu_meets_each_batch_size_at_three_lengths() -> None:
    assert names(entry(batching={"preferred": [16, 64]})) == ["b64", "b16", "b1"]
    assert names(sequence()) == [
        "b8-seq64",
        "b8-seq16",
        "b1-seq64",
        "b1-seq16",
        "b8-seq1",
        "b1-seq1",
    ]


def test_more_than_eight_shapes_are_thinned_out_on_a_cpu() -> None:
    model = sequence(batching={"preferred": [2, 4, 6]})

    assert len(names(model)) == 8
    assert len(names(model, target="gpu", has_convolutions=True)) == 8 * 3


def test_batch_sizes_to_choose_from_are_all_measured_at_the_usual_length() -> None:
    found = names(sequence(batching={"preferred": "auto"}))

    assert {"b1-seq16", "b2-seq16", "b4-seq16", "b8-seq16"} <= set(found)
    assert "b2-seq64" not in found


def test_cudnn_meets_every_batch_size_or_the_powers_of_two() -> None:
    small, large = sequence(max_batch_size=3), sequence(max_batch_size=40)

    few = names(small, target="gpu", has_convolutions=True)
    assert few == [f"b{batch}-seq{size}" for size in (64, 16, 1) for batch in (3, 2, 1)]
    batches = {sample.batch for sample in warmup.plan(large, target="gpu", has_convolutions=True)}
    assert batches == {1, 2, 4, 8, 16, 32, 40}


def test_a_gpu_without_convolutions_meets_the_ends_alone() -> None:
    model = sequence(batching={"preferred": [4]})

    assert names(model, target="gpu") == names(model, target="auto")
    assert set(names(model, target="gpu")) == {
        f"b{batch}-seq{size}" for batch in (1, 4, 8) for size in (1, 64)
    }


def test_tensorrt_in_onnx_runtime_meets_the_corners_of_its_profile() -> None:
    model = sequence(format="onnx-tensorrt", batching={"preferred": [4]})

    assert names(model, target="gpu", has_convolutions=True) == ["b8-seq64", "b1-seq1"]


def costs(*measured: tuple[float, float, int]) -> list[ShapeCost]:
    return [
        ShapeCost(batch=1, dims={}, first_ms=first, steady_ms=steady, runs_until_steady=runs)
        for first, steady, runs in measured
    ]


# Of six samples, in milliseconds: 3 x 4 s, 2 x 2 s, ...
SLOW = costs((4e3, 4e3, 3), (2e3, 2e3, 2), (900, 900, 1), (400, 400, 1), (90, 90, 9), (9, 9, 1))


def test_each_sample_runs_until_it_is_steady_but_five_times_at_most() -> None:
    fitted = warmup.fit(warmup.plan(sequence(), target="cpu"), SLOW, target="cpu", budget_s=60)

    assert list(fitted.counts.values()) == [3, 2, 1, 1, 5, 1]
    assert fitted.seconds == 17.759
    assert (fitted.costs, fitted.dropped) == (tuple(SLOW), ())


def test_what_is_beyond_the_budget_is_left_out_between_the_corners() -> None:
    plan = warmup.plan(sequence(), target="cpu")

    fitted = warmup.fit(plan, SLOW, target="cpu", budget_s=13.5)

    assert fitted.samples == (plan[0], plan[2], plan[5])
    assert fitted.costs == (SLOW[0], SLOW[2], SLOW[5])
    assert fitted.dropped == (SLOW[1], SLOW[3], SLOW[4])
    assert fitted.seconds == 12.909
    assert fitted.files == {
        f"{name}-seq{size}.bin" for name in ("tokens", "mask") for size in (64, 1)
    }


def test_the_corners_stay_whatever_they_take() -> None:
    plan = warmup.plan(sequence(), target="cpu")

    fitted = warmup.fit(plan, SLOW, target="cpu", budget_s=0.001)

    assert fitted.samples == (plan[0], plan[-1])
    assert fitted.counts == {"b8-seq64": 1, "b1-seq1": 1}
    assert fitted.seconds == 4.009


def test_a_measurement_on_a_cpu_decides_nothing_for_a_gpu() -> None:
    plan = warmup.plan(sequence(), target="gpu")

    fitted = warmup.fit(plan, SLOW[:4], target="gpu", budget_s=0.001)

    assert (fitted.samples, fitted.dropped, fitted.seconds) == (plan, (), None)
    assert set(fitted.counts.values()) == {2}


def contents(model: ModelRecipe, real: Tensors | None = None) -> dict[str, bytes]:
    return warmup.data_files(model, warmup.plan(model, target="cpu"), real=real or {})


def test_a_sample_holds_one_element_and_repeats_it() -> None:
    first, *_ = warmup.plan(entry(), target="cpu")

    assert (first.name, first.batch, first.dims) == ("b64", 64, {})
    assert [(spec.name, spec.dims, spec.file) for spec in first.inputs] == [
        ("dense", (13,), "dense.bin"),
        ("ids", (6,), "ids.bin"),
    ]


def test_batches_share_their_files() -> None:
    assert list(contents(entry(batching={"preferred": [4, 8]}))) == ["dense.bin", "ids.bin"]


def test_lengths_have_files_of_their_own_and_exactly_as_many_bytes_as_needed() -> None:
    sizes = {name: len(content) for name, content in contents(sequence()).items()}

    assert sizes == {
        "tokens-seq64.bin": 64 * 8,
        "mask-seq64.bin": 64,
        "tokens-seq16.bin": 16 * 8,
        "mask-seq16.bin": 16,
        "tokens-seq1.bin": 8,
        "mask-seq1.bin": 1,
    }


def test_every_file_that_the_plan_names_is_written() -> None:
    for model in (entry(), sequence(), sequence(max_batch_size=0)):
        plan = warmup.plan(model, target="cpu")
        assert {spec.file for sample in plan for spec in sample.inputs} == set(contents(model))


def test_real_samples_are_taken_where_there_are_some() -> None:
    dense = np.arange(26, dtype=np.float32).reshape(2, 13)

    files = contents(entry(), {"dense": dense})

    assert files["dense.bin"] == dense[0].tobytes()
    assert files["ids.bin"] == contents(entry())["ids.bin"]


def test_texts_lie_behind_their_lengths() -> None:
    words = {"name": "word", "dtype": "BYTES", "shape": [2], "values": ["é"]}
    model = entry(source=None, onnx="words.onnx", inputs=[words])

    assert contents(model) == {"word.bin": b"\x02\x00\x00\x00\xc3\xa9" * 2}


def test_each_request_of_a_stateful_model_is_a_whole_sequence() -> None:
    controls = [
        {"name": f"{control}-{dtype}", "control": control, "dtype": dtype}
        for control in ("start", "end", "ready")
        for dtype in ("BOOL", "INT32", "FP32")
    ]
    files = contents(entry(inputs=[IDS, *controls], sequence={}))

    ones = {"BOOL": b"\x01", "INT32": b"\x01\0\0\0", "FP32": b"\0\0\x80\x3f"}
    del files["ids.bin"]
    assert files == {f"{each['name']}.bin": ones[each["dtype"]] for each in controls}


def test_ids_of_an_adopted_graph_stay_within_its_table() -> None:
    ids = {"name": "ids", "dtype": "INT64", "shape": ["seq"]}
    model = entry(source=None, onnx="words.onnx", inputs=[ids, IDS | {"name": "said"}], dims=SEQ)
    facts = GraphFacts(table_rows={"ids": 7, "said": 900}, has_convolutions=False)

    completed = warmup.with_ranges(model, facts)

    assert [spec.range for spec in completed.inputs] == [(0, 7), (0, 100)]
