"""A bad repository for every rule: what is found, where."""

import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from generator.lint.rules import RULES
from generator.releases import NEWEST
from tests.unit.generator.lint.trees import (
    CONFIG,
    ENSEMBLE,
    FOLDER,
    PIPELINE,
    PYTHON,
    RANKER,
    ROWS,
    Link,
    Tree,
    found,
    graph,
    ids,
    pipeline,
    ranker,
    said,
    write,
)

RANKER_CONFIG = "ranker/config.pbtxt"
PIPELINE_CONFIG = "pipeline/config.pbtxt"
ADDED = CONFIG.count("\n") + 1
STEPS = ENSEMBLE[ENSEMBLE.index("ensemble_scheduling") :]


def added(text: str) -> Tree:
    """The good model with more at the end of its config, from line ADDED on."""
    return {**RANKER, RANKER_CONFIG: CONFIG + text}


def on_gpu(name: str, *keys: tuple[str, str]) -> str:
    told = "".join(f'  parameters {{ key: "{key}" value: "{value}" }}\n' for key, value in keys)
    return (
        "optimization { execution_accelerators { gpu_execution_accelerator {\n"
        f'  name: "{name}"\n{told}'
        "} } }\n"
    )


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
ENVIRONMENT = """parameters {
  key: "EXECUTION_ENV_PATH"
  value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" }
}
"""
CACHED = (("trt_engine_cache_enable", "1"), ("trt_engine_cache_path", "/cache"))

BAD: dict[str, tuple[Tree, list[tuple[str, str, int | None]]]] = {
    "a link at the root to nothing": (
        RANKER | {"old": Link("gone")},
        [("PL101", "old", None)],
    ),
    "a link in a model to nothing": (
        RANKER | {"ranker/notes": Link("gone")},
        [("PL102", "ranker/notes", None)],
    ),
    "a link to itself": (
        RANKER | {"ranker/self": Link("self")},
        [("PL102", "ranker/self", None)],
    ),
    "a link that leaves": (
        RANKER | {"ranker/parts": Link("../..")},
        [("PL103", "ranker/parts", None)],
    ),
    "a hidden folder at the root": (
        RANKER | {".staging/part": ""},
        [("PL104", ".staging", None)],
    ),
    "a model without version": (
        RANKER | {"empty/config.pbtxt": 'backend: "python"'},
        [("PL105", "empty", None)],
    ),
    "a version beyond 64 bits": (
        RANKER | {"ranker/99999999999999999999": FOLDER},
        [("PL106", "ranker/99999999999999999999", None)],
    ),
    "a staging folder": (
        RANKER | {"ranker/3.tmp": FOLDER},
        [("PL107", "ranker/3.tmp", None)],
    ),
    "zeros in front": (
        RANKER | {"ranker/007": FOLDER},
        [("PL108", "ranker/007", None)],
    ),
    "a version with a letter": (
        RANKER | {"ranker/v2": FOLDER},
        [("PL109", "ranker/v2", None)],
    ),
    "a policy with a version that is not there": (
        added("version_policy { specific {\n versions: [1, 7] } }"),
        [("PL110", RANKER_CONFIG, ADDED + 1)],
    ),
    "a version without model": (
        RANKER | {"ranker/2": FOLDER},
        [("PL111", "ranker/2", None)],
    ),
    "links that go round": (
        RANKER | {"ranker/again": Link("."), "ranker/1/up": Link("..")},
        [("PL115", "ranker/1/up", None), ("PL115", "ranker/again", None)],
    ),
    "a pointer of Git LFS": (
        RANKER | {"ranker/1/model.onnx": POINTER},
        [("PL116", "ranker/1/model.onnx", None)],
    ),
    "an environment that is not there": (
        {"tokens/config.pbtxt": PYTHON + ENVIRONMENT, "tokens/1/model.py": ""},
        [("PL117", "tokens/config.pbtxt", PYTHON.count("\n") + 3)],
    ),
    "labels that are not there": (
        ranker(('name: "score"', 'name: "score" label_filename: "labels.txt"')),
        [("PL113", RANKER_CONFIG, 10)],
    ),
    "an unknown field": (
        added('max_bach_size: 3'),
        [("PL201", RANKER_CONFIG, ADDED)],
    ),
    "another name": (
        ranker(('name: "ranker"', 'name: "rank"')),
        [("PL202", RANKER_CONFIG, 1)],
    ),
    "nothing that tells the backend": (
        {"odd/config.pbtxt": "max_batch_size: 0", "odd/1/weights": ""},
        [("PL203", "odd/config.pbtxt", 1)],
    ),
    "a negative batch size": (
        {"tokens/config.pbtxt": PYTHON.replace(": 4", ": -1"), "tokens/1/model.py": ""},
        [("PL204", "tokens/config.pbtxt", 2)],
    ),
    "a preferred size above the largest": (
        ranker(("[4, 8]", "[4,\n 16]")),
        [("PL205", RANKER_CONFIG, 16)],
    ),
    "batching without batches": (
        {
            "tokens/config.pbtxt": PYTHON.replace(": 4", ": 0") + "dynamic_batching {}",
            "tokens/1/model.py": "",
        },
        [("PL206", "tokens/config.pbtxt", 5)],
    ),
    "GPUs for the CPU": (
        added("instance_group {\n kind: KIND_CPU\n gpus: [0] }"),
        [("PL207", RANKER_CONFIG, ADDED + 2)],
    ),
    "an input without dims": (
        {
            "tokens/config.pbtxt": PYTHON.replace("dims: [1]", ""),
            "tokens/1/model.py": "",
        },
        [("PL208", "tokens/config.pbtxt", 3)],
    ),
    "an output listed twice": (
        added('output { name: "score" data_type: TYPE_FP32 dims: [6] }'),
        [("PL209", RANKER_CONFIG, ADDED)],
    ),
    "a reshape to another size": (
        {
            "tokens/config.pbtxt": PYTHON.replace("[6]", "[6]\n reshape { shape: [2, 2] }"),
            "tokens/1/model.py": "",
        },
        [("PL210", "tokens/config.pbtxt", 5)],
    ),
    "an optional input with batches": (
        ranker(("dims: [6]\n}\noutput", "dims: [6]\noptional: true\n}\noutput"))
        | {"ranker/1/model.onnx": graph(default=True)},
        [("PL211", RANKER_CONFIG, 8)],
    ),
    "a response cache for sequences": (
        {
            "tokens/config.pbtxt": PYTHON
            + "sequence_batching {}\nresponse_cache { enable: true }",
            "tokens/1/model.py": "",
        },
        [("PL212", "tokens/config.pbtxt", 6)],
    ),
    "priorities without a default": (
        ranker(("[4, 8]", "[4, 8]\n  priority_levels: 2")),
        [("PL213", RANKER_CONFIG, 16)],
    ),
    "ordering with priorities": (
        ranker(
            (
                "[4, 8]",
                "[4, 8]\n  priority_levels: 2 default_priority_level: 1\n  preserve_ordering: true",
            )
        ),
        [("PL214", RANKER_CONFIG, 17)],
    ),
    "a platform of another backend": (
        ranker(('backend: "onnxruntime"', 'backend: "onnxruntime" platform: "tensorrt_plan"')),
        [("PL215", RANKER_CONFIG, 2)],
    ),
    "warm-up of an ensemble": (
        pipeline(("max_batch_size: 4", "max_batch_size: 4 model_warmup { batch_size: 1 }")),
        [("PL301", PIPELINE_CONFIG, 2)],
    ),
    "a sample that is skipped": (
        ranker(("  batch_size: 8\n  inputs", "  inputs")),
        [("PL302", RANKER_CONFIG, 17)],
    ),
    "a sample above the largest batch": (
        ranker(("  batch_size: 8\n  inputs", "  batch_size: 9\n  inputs")),
        [("PL303", RANKER_CONFIG, 19)],
    ),
    "a sample without an input": (
        {
            "tokens/config.pbtxt": f'{PYTHON}model_warmup {{ name: "a" batch_size: 1 }}',
            "tokens/1/model.py": "",
        },
        [("PL304", "tokens/config.pbtxt", 5)],
    ),
    "a sample with an input of another name": (
        ranker(('key: "ids"', 'key: "id"')),
        [("PL304", RANKER_CONFIG, 17), ("PL305", RANKER_CONFIG, 22)],
    ),
    "a sample of another type": (
        ranker(("value {\n      data_type: TYPE_INT64", "value {\n      data_type: TYPE_UINT64")),
        [("PL306", RANKER_CONFIG, 23)],
    ),
    "a sample with a size that varies": (
        ranker(("      dims: [6]", "      dims: [-1]")),
        [("PL307", RANKER_CONFIG, 24)],
    ),
    "a sample without data": (
        ranker(('      input_data_file: "ids.bin"\n', "")),
        [("PL308", RANKER_CONFIG, 22)],
    ),
    "random ids": (
        ranker(('input_data_file: "ids.bin"', "random_data: true")),
        [("PL309", RANKER_CONFIG, 22)],
    ),
    "zeros as ids": (
        ranker(('input_data_file: "ids.bin"', "zero_data: false")),
        [("PL310", RANKER_CONFIG, 22)],
    ),
    "a sample without its file": (
        ranker(("ids.bin", "id.bin")),
        [("PL320", RANKER_CONFIG, 25)],
    ),
    "a file that is too short": (
        RANKER | {"ranker/warmup/ids.bin": ids(0, 1, 2, 3, 4)},
        [("PL321", RANKER_CONFIG, 25)],
    ),
    "a file that is too long": (
        RANKER | {"ranker/warmup/ids.bin": ids(*range(12))},
        [("PL322", RANKER_CONFIG, 25)],
    ),
    "an id beyond the table": (
        RANKER | {"ranker/warmup/ids.bin": ids(0, 1, 2, 3, 4, ROWS)},
        [("PL323", RANKER_CONFIG, 25)],
    ),
    "a model that is none": (
        RANKER | {"ranker/1/model.onnx": "no model\n"},
        [("PL401", "ranker/1/model.onnx", None)],
    ),
    "no tensors": (
        {"bare/config.pbtxt": 'backend: "onnxruntime"', "bare/1/model.onnx": graph()},
        [("PL402", "bare/config.pbtxt", 1)],
    ),
    "tensors of other names": (
        ranker(('name: "ids"', 'name: "id"'), ('key: "ids"', 'key: "id"')),
        [("PL403", RANKER_CONFIG, 4), ("PL404", RANKER_CONFIG, 5)],
    ),
    "an output of another type": (
        ranker(("TYPE_FP32", "TYPE_FP64")),
        [("PL405", RANKER_CONFIG, 11)],
    ),
    "an output of another shape": (
        ranker(("dims: [6]\n}\ndynamic", "dims: [-1]\n}\ndynamic")),
        [("PL406", RANKER_CONFIG, 12)],
    ),
    "a batch that is fixed": (
        RANKER | {"ranker/1/model.onnx": graph(shape=(2, 6))},
        [("PL407", RANKER_CONFIG, 3)] * 2,
    ),
    "an unknown accelerator": (
        added(on_gpu("tensor_rt")),
        [("PL501", RANKER_CONFIG, ADDED + 1)],
    ),
    "a key that TensorRT has and the backend has not": (
        added(on_gpu("tensorrt", *CACHED, ("trt_engine_hw_compatible", "1"))),
        [("PL502", RANKER_CONFIG, ADDED + 4)],
    ),
    "engines that are not kept": (
        added(on_gpu("tensorrt")),
        [("PL503", RANKER_CONFIG, ADDED)],
    ),
    "engines in one place": (
        {
            **added(on_gpu("tensorrt", *CACHED)),
            "copy/config.pbtxt": 'backend: "onnxruntime"\n' + on_gpu("tensorrt", *CACHED),
            "copy/1/model.onnx": graph(),
        },
        [
            ("PL402", "copy/config.pbtxt", 1),
            ("PL504", "copy/config.pbtxt", 5),
            ("PL504", RANKER_CONFIG, ADDED + 3),
        ],
    ),
    "a limit of GPU memory in vain": (
        added(on_gpu("cuda", ("gpu_mem_limit", "1000000000"))),
        [("PL505", RANKER_CONFIG, ADDED + 2)],
    ),
    "an ensemble with instances": (
        pipeline(("max_batch_size: 4", "max_batch_size: 4\ninstance_group { count: 2 }")),
        [("PL601", PIPELINE_CONFIG, 3)],
    ),
    "an ensemble that is called none": (
        pipeline(('platform: "ensemble"', "")),
        [("PL602", PIPELINE_CONFIG, 1)],
    ),
    "an ensemble of an unknown model": (
        pipeline(('model_name: "tokens"', 'model_name: "tokenizer"')),
        [("PL603", PIPELINE_CONFIG, 7)],
    ),
    "an ensemble of an unknown version": (
        pipeline(('"ranker"\n    model_version: -1', '"ranker"\n    model_version: 2')),
        [("PL604", PIPELINE_CONFIG, 14)],
    ),
    "an ensemble with a wrong map": (
        pipeline(('key: "text"', 'key: "txt"')),
        [("PL605", PIPELINE_CONFIG, 9)] * 2,
    ),
    "an ensemble that waits for nobody": (
        pipeline(('output_map { key: "ids" value: "ids"', 'output_map { key: "ids" value: "id"')),
        [("PL607", PIPELINE_CONFIG, 10), ("PL606", PIPELINE_CONFIG, 15)],
    ),
    "an ensemble with an input for nobody": (
        pipeline(("output {", 'input { name: "more" data_type: TYPE_FP32 dims: [1] }\noutput {')),
        [("PL607", PIPELINE_CONFIG, 4)],
    ),
    "an ensemble that writes twice": (
        pipeline(('output_map { key: "score" value: "score" }',
                  'output_map { key: "score" value: "ids" }')),
        [
            ("PL606", PIPELINE_CONFIG, 4),
            ("PL608", PIPELINE_CONFIG, 16),
            ("PL609", PIPELINE_CONFIG, 16),
        ],
    ),
    "an ensemble of tensors that do not fit": (
        pipeline(("TYPE_STRING", "TYPE_INT64")),
        [("PL609", PIPELINE_CONFIG, 9)],
    ),
    "an ensemble with larger batches": (
        pipeline(("max_batch_size: 4", "max_batch_size: 6")),
        [("PL610", PIPELINE_CONFIG, 6)],
    ),
    "an ensemble in itself": (
        PIPELINE
        | {
            "again/config.pbtxt": 'platform: "ensemble"\nensemble_scheduling { step {\n'
            'model_name: "again" input_map { key: "x" value: "x" }\n'
            'output_map { key: "y" value: "y" } } }\n'
            'input { name: "x" data_type: TYPE_FP32 dims: [1] }\n'
            'output { name: "y" data_type: TYPE_FP32 dims: [1] }\n',
            "again/1": FOLDER,
        },
        [("PL611", "again/config.pbtxt", 2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("tree", [RANKER, PIPELINE], ids=["a model", "an ensemble"])
def test_nothing_is_found_where_nothing_is_wrong(tree: Tree, tmp_path: Path) -> None:
    assert said(write(tmp_path, tree)) == []


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found_where_it_is(name: str, tmp_path: Path) -> None:
    tree, expected = BAD[name]

    assert said(write(tmp_path, tree)) == expected


def test_every_rule_has_a_bad_example() -> None:
    elsewhere = {"PL112", "PL114", "PL118", "PL701", "PL702"}
    shown = {code for _, expected in BAD.values() for code, _, _ in expected}

    assert {rule.code for rule in RULES} == shown | elsewhere


def test_codes_are_never_given_twice() -> None:
    codes = [rule.code for rule in RULES]

    assert sorted(set(codes)) == codes


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of the good model, in a file of their own."""
    root = write(tmp_path, RANKER)
    onnx.save_model(
        onnx.load_from_string(graph()),
        root / "ranker/1/model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    assert said(root) == []
    return root / "ranker/1/model.onnx.data"


def test_weights_that_are_not_there_are_named(weights: Path, tmp_path: Path) -> None:
    weights.unlink()

    assert [each.problem.what for each in found(tmp_path)] == [
        "its weights are in 1/model.onnx.data, which is not there"
    ]


def test_weights_that_are_a_pointer_of_git_lfs_are_named(weights: Path, tmp_path: Path) -> None:
    weights.write_text(POINTER)

    assert said(tmp_path) == [("PL116", "ranker/1/model.onnx.data", None)]


def test_large_weights_in_the_graph_are_told(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph())
    table = np.zeros(17 << 18, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "large"))
    root = write(tmp_path, {**RANKER, "ranker/1/model.onnx": model.SerializeToString()})

    assert [(each.rule.code, each.problem.what) for each in found(root)] == [
        ("PL118", "17.0 MiB lie in the graph's own file")
    ]


def test_a_time_in_the_future_is_found(tmp_path: Path) -> None:
    root = write(tmp_path, RANKER)
    tomorrow_s = time.time() + 86_400
    os.utime(root / "ranker/1/model.onnx", (tomorrow_s, tomorrow_s))

    assert said(root) == [("PL114", "ranker/1/model.onnx", None)]


@pytest.mark.parametrize(("triton", "expected"), [("24.10", [("PL701", ADDED + 1)]), ("24.11", [])])
def test_fields_are_compared_with_the_release(
    triton: str, expected: list[tuple[str, int]], tmp_path: Path
) -> None:
    root = write(tmp_path, added("\nmodel_metrics {}"))

    assert [(code, line) for code, _, line in said(root, triton)] == expected


def test_a_field_of_a_step_is_compared_with_the_release(tmp_path: Path) -> None:
    steps = "ensemble_scheduling {"
    root = write(tmp_path, pipeline((steps, f"{steps}\n  max_inflight_requests: 2")))

    assert said(root) == []
    assert said(root, "25.10") == [("PL701", PIPELINE_CONFIG, 6)]


@pytest.mark.parametrize(
    ("opset", "ir", "triton", "codes"),
    [
        (21, 10, "24.10", []),
        (22, 10, "24.10", ["PL702"]),
        (22, 10, "25.03", []),
        (18, 11, "25.03", ["PL702"]),
        (26, 14, NEWEST, ["PL702"]),
    ],
)
def test_graphs_are_compared_with_the_release(
    opset: int, ir: int, triton: str, codes: list[str], tmp_path: Path
) -> None:
    root = write(tmp_path, {**RANKER, "ranker/1/model.onnx": graph(opset=opset, ir=ir)})

    assert [code for code, _, _ in said(root, triton)] == codes


def test_variants_of_a_config_are_checked(tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, "ranker/configs/gpu.pbtxt": CONFIG.replace("[4, 8]", "[9]")})

    assert said(root) == [("PL205", "ranker/configs/gpu.pbtxt", 15)]


def test_what_two_configs_have_in_common_is_told_once(tmp_path: Path) -> None:
    variant = {"ranker/configs/gpu.pbtxt": CONFIG, "ranker/2": FOLDER}

    assert said(write(tmp_path, {**RANKER, **variant})) == [("PL111", "ranker/2", None)]


def test_a_damaged_model_is_told_as_such(tmp_path: Path) -> None:
    whole = graph()
    for size in range(0, len(whole), 5):
        root = write(tmp_path / str(size), {**RANKER, "ranker/1/model.onnx": whole[:size]})

        assert said(root)


def test_a_type_by_a_number_that_is_none_is_told_as_such(tmp_path: Path) -> None:
    root = write(tmp_path, ranker(("TYPE_FP32", "99")))

    (finding,) = found(root)

    assert finding.problem.what == "output score is 99, in 1/model.onnx TYPE_FP32"


def test_only_versions_that_are_served_need_their_files(tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, "ranker/0/other": "", "ranker/.tmp-2/model.onnx": ""})

    assert said(root) == []


def test_without_a_config_triton_completes_an_empty_one(tmp_path: Path) -> None:
    root = write(tmp_path, {"bare/1/model.onnx": graph()})

    assert said(root) == [("PL402", "bare", None)]


@pytest.mark.parametrize(
    ("backend", "file"),
    [
        ("tensorrt", "model.plan"),
        ("pytorch", "model.pt"),
        ("python", "model.py"),
        ("openvino", "model.xml"),
        ("tensorflow", "model.savedmodel"),
    ],
)
def test_every_backend_has_a_file_of_its_own(backend: str, file: str, tmp_path: Path) -> None:
    root = write(tmp_path, {"other/config.pbtxt": f'backend: "{backend}"', "other/1": FOLDER})
    assert said(root) == [("PL111", "other/1", None)]

    write(root, {f"other/1/{file}": ""})

    assert said(root) == []


@pytest.mark.parametrize("name", ["2abc", "+2", "-5"])
def test_what_begins_like_a_number_is_found(name: str, tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, f"ranker/{name}": FOLDER})

    assert said(root) == [("PL107", f"ranker/{name}", None)]


@pytest.mark.parametrize(
    ("path", "code", "place"),
    [
        ("ranker/1/notes", None, ""),
        ("ranker/1/model.onnx", "PL111", "ranker/1"),
        ("ranker/warmup/ids.bin", "PL320", RANKER_CONFIG),
    ],
)
def test_a_link_to_nothing_matters_where_it_is_needed(
    path: str, code: str | None, place: str, tmp_path: Path
) -> None:
    root = write(tmp_path, {**RANKER, path: Link("gone")})

    assert [(each.rule.code, each.place.path) for each in found(root)] == (
        [(code, place)] if code else []
    )


def test_a_python_model_may_name_any_platform(tmp_path: Path) -> None:
    text = f'{PYTHON}platform: "tensorrt_plan"'

    assert said(write(tmp_path, {"tokens/config.pbtxt": text, "tokens/1/model.py": ""})) == []


def test_a_number_in_front_is_harmless_beside_its_version(tmp_path: Path) -> None:
    assert said(write(tmp_path, {**RANKER, "ranker/1.old": FOLDER})) == []


def test_a_single_link_to_a_folder_around_it_is_harmless(tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, "ranker/again": Link("..")})

    assert said(root) == []


def test_a_version_may_be_a_link_that_leaves(tmp_path: Path) -> None:
    write(tmp_path, {f"store/{path}": content for path, content in RANKER.items()})
    tree = {"stage/ranker/config.pbtxt": CONFIG, "stage/ranker/1": Link("../../store/ranker/1")}
    write(tmp_path, {**tree, "stage/ranker/warmup": Link("../../store/ranker/warmup")})

    assert said(tmp_path / "stage") == [
        ("PL103", "ranker/1", None),
        ("PL103", "ranker/warmup", None),
    ]
