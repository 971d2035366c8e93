"""What a version costs: declared by its manifest until real loads have taught better."""

from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.cost import Basis, can_go_to_cpu, counted_s, footprint, instances, reload
from sidecar.core.fleet import StoredVersion
from sidecar.core.learned import LOADS_WEIGHED, Learned, learn
from sidecar.core.memory import CPU
from tests.builders import MIB, config_text, version

GPUS = ("gpu:0", "gpu:1")


def with_groups(groups: str) -> str:
    return config_text().replace("instance_group { kind: KIND_CPU count: 1 }", groups)


def costing(*, groups: str | None = None, **cost: Any) -> StoredVersion:
    found = version()
    declared = replace(found.manifest.cost, **cost)
    manifest = replace(found.manifest, cost=declared)
    return replace(found, manifest=manifest, config=with_groups(groups) if groups else found.config)


@pytest.mark.parametrize(
    ("groups", "gpus", "expected"),
    [
        ("instance_group { kind: KIND_CPU count: 2 }", GPUS, {CPU: 2}),
        ("instance_group { kind: KIND_GPU count: 2 }", GPUS, {"gpu:0": 2, "gpu:1": 2}),
        ("instance_group { kind: KIND_GPU gpus: [1] }", GPUS, {"gpu:1": 1}),
        ("instance_group { kind: KIND_GPU gpus: [1] }", ("gpu:0",), {"gpu:1": 1}),
        ("instance_group { kind: KIND_GPU gpus: [1] }", (), {"gpu:1": 1}),
        ("instance_group { kind: KIND_GPU count: 2 }", (), {"gpu:0": 2}),
        ("instance_group { kind: KIND_AUTO count: 1 }", ("gpu:0",), {"gpu:0": 1}),
        ("instance_group { kind: KIND_AUTO count: 3 }", (), {CPU: 3}),
        ("", GPUS, {"gpu:0": 1, "gpu:1": 1}),
        ("", (), {CPU: 1}),
        (
            "instance_group [{ kind: KIND_CPU count: 1 }, { kind: KIND_GPU gpus: [0] count: 2 }]",
            GPUS,
            {CPU: 1, "gpu:0": 2},
        ),
    ],
)
def test_instances_go_where_triton_puts_them(
    groups: str, gpus: tuple[str, ...], expected: dict[str, int]
) -> None:
    assert instances(with_groups(groups), gpus) == expected


def test_declared_bytes_are_what_is_shared_and_each_instances_own() -> None:
    two = costing(
        groups="instance_group { kind: KIND_CPU count: 2 }",
        shared_bytes=10 * MIB,
        peak_bytes=3 * MIB,
    )

    assert footprint(two, None, ()) == ({CPU: 16 * MIB}, Basis.DECLARED)


def test_learned_bytes_replace_declared_ones_on_their_device() -> None:
    a = costing(
        groups="instance_group { kind: KIND_GPU gpus: [0, 1] }",
        shared_bytes=0,
        peak_bytes=3 * MIB,
    )
    one = Learned(held_bytes={"gpu:0": 5 * MIB})
    both = Learned(held_bytes={"gpu:0": 5 * MIB, "gpu:1": 6 * MIB})

    assert footprint(a, one, GPUS) == ({"gpu:0": 5 * MIB, "gpu:1": 3 * MIB}, Basis.DECLARED)
    assert footprint(a, both, GPUS)[1] is Basis.LEARNED
    assert footprint(a, both, GPUS, on_cpu=True) == ({CPU: 3 * MIB}, Basis.DECLARED)


def test_a_reload_takes_its_load_and_the_disk_where_files_are_not_in_memory() -> None:
    """0.8 GB/s is assumed of a disk that nobody has measured."""
    a = costing(load_s=2.0, disk_bytes=800_000_000)

    assert reload(a, None, cached=True).seconds == 2.0
    assert reload(a, None, cached=False).seconds == 3.0
    known = Learned(load_s=4.0, read_s=10.0, warm_up_s=0.5)
    assert reload(a, known, cached=True).seconds == 4.5
    assert reload(a, known, cached=False).seconds == 14.5


def test_the_newest_load_weighs_most_but_not_all() -> None:
    first = learn(None, read_s=None, load_s=10.0, warm_up_s=1.0, held_bytes={CPU: 7}, curves=())
    second = learn(first, read_s=5.0, load_s=20.0, warm_up_s=1.0, held_bytes={CPU: 3}, curves=())

    assert (first.loads, first.load_s, first.read_s) == (1, 10.0, None)
    assert (second.loads, second.load_s, second.read_s) == (2, pytest.approx(13.0), 5.0)
    assert second.held_bytes == {CPU: 7}


def weighed(*held: int) -> list[int]:
    """What is believed after each of these loads."""
    known, found = None, []
    for each in held:
        known = learn(known, read_s=None, load_s=1, warm_up_s=1, held_bytes={CPU: each}, curves=())
        found.append(known.held_bytes[CPU])
    assert known is not None
    assert len(known.weighed_bytes[CPU]) <= LOADS_WEIGHED
    return found


def test_one_load_beside_somebody_else_is_outvoted_by_three() -> None:
    """A model that does not fit any more would never be weighed again."""
    assert weighed(10, 11, 900) == [10, 11, 11]
    assert weighed(900, 10, 11) == [900, 900, 11]
    assert weighed(10, 10, 10, 20, 20) == [10, 10, 10, 10, 20]


def test_what_a_model_held_long_ago_is_forgotten() -> None:
    assert weighed(30, 30, 30, *[10] * LOADS_WEIGHED)[-1] == 10


def test_what_was_recorded_before_loads_were_weighed_one_by_one_counts_as_one() -> None:
    before = Learned(loads=9, held_bytes={CPU: 30})

    now = learn(before, read_s=None, load_s=1, warm_up_s=1, held_bytes={CPU: 10}, curves=())

    assert (now.held_bytes, now.weighed_bytes) == ({CPU: 30}, {CPU: (30, 10)})


def test_a_cold_start_within_the_service_level_hardly_counts() -> None:
    assert counted_s(10.0, 0.0) == 10.0
    assert counted_s(10.0, 4.0) == 6.0
    assert counted_s(10.0, 60.0) == 0.5


@pytest.mark.parametrize(
    ("said", "can"),
    [
        ('backend: "onnxruntime"', True),
        ('backend: "python"', True),
        ('backend: "tensorrt"', False),
        ('platform: "tensorrt_plan"', False),
    ],
)
def test_an_engine_for_a_gpu_cannot_go_to_the_cpu(said: str, *, can: bool) -> None:
    assert can_go_to_cpu(config_text().replace('backend: "onnxruntime"', said)) is can
