import hashlib
import json
from pathlib import Path

import pytest

from contract.dtypes import Datatype
from contract.errors import InvalidArtifact
from contract.intent import Intent, Tier, read_intent
from contract.layout import Store
from contract.manifest import FileRecord, damaged_files, read_manifest, record_files
from tests.builders import manifest, publish, signature, tensor


def test_a_signature_does_not_differ_from_itself() -> None:
    assert signature().difference(signature()) == []


def test_every_difference_that_a_client_would_notice_is_named() -> None:
    before = signature(outputs=[tensor("y", 2), tensor("z", 1), tensor("s", 4)])
    after = signature(
        outputs=[tensor("y", 3), tensor("s", 4, datatype=Datatype.FP64), tensor("new", -1)],
        max_batch_size=0,
    )

    assert before.difference(after) == [
        "max_batch_size 8 -> 0",
        "output z FP32[1] is gone",
        "output new FP32[-1] is new",
        "output y FP32[2] -> y FP32[3]",
        "output s FP32[4] -> s FP64[4]",
    ]


def test_the_order_of_tensors_is_no_difference() -> None:
    one, two = tensor("y", 2), tensor("z", 1)

    assert signature(outputs=[one, two]).difference(signature(outputs=[two, one])) == []


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    written = manifest("m", 3, disk_bytes=7)
    path = tmp_path / "manifest.json"
    path.write_text(written.model_dump_json())

    assert read_manifest(path) == written


def test_a_manifest_of_an_older_pilotlight_is_read(tmp_path: Path) -> None:
    """Nothing was known then of warm-up budgets, further instances and cold loads."""
    written = json.loads(manifest().model_dump_json())
    newer = {"cost": ["further_private_bytes", "load_cold_s"]}
    newer[""] = ["warmup", "verification", "proof", "composing"]
    for section, names in newer.items():
        for name in names:
            del (written[section] if section else written)[name]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(written))

    assert read_manifest(path) == manifest()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema_version": 1}', manifest().model_dump_json().replace('":1,', '":2,')],
)
def test_a_manifest_that_says_nothing_possible_is_named_with_the_remedy(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)

    with pytest.raises(InvalidArtifact, match=r"(?s)manifest\.json cannot be read: .*`make repo`"):
        read_manifest(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"manifest\.json cannot be read"):
        read_manifest(tmp_path / "manifest.json")


def test_files_are_recorded_with_folders_and_without_the_manifest(tmp_path: Path) -> None:
    publish(Store(tmp_path))

    recorded = record_files(tmp_path / "m" / "1")

    assert list(recorded) == ["config.pbtxt", "golden.npz", "model.onnx", "warmup/x.bin"]
    content = (tmp_path / "m" / "1" / "warmup" / "x.bin").read_bytes()
    assert recorded["warmup/x.bin"] == FileRecord(
        sha256=hashlib.sha256(content).hexdigest(), bytes=8
    )


def test_every_damaged_file_is_found(tmp_path: Path) -> None:
    publish(Store(tmp_path))
    folder = tmp_path / "m" / "1"
    recorded = read_manifest(folder / "manifest.json")
    assert damaged_files(recorded, folder) == []

    (folder / "golden.npz").unlink()
    (folder / "config.pbtxt").write_text("short")
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes().swapcase())

    size = recorded.files["config.pbtxt"].bytes
    assert damaged_files(recorded, folder) == [
        f"config.pbtxt has 5 bytes, the manifest says {size}",
        "golden.npz is missing",
        "model.onnx has another SHA-256 than the manifest says",
    ]


def test_a_model_without_an_intent_is_cold(tmp_path: Path) -> None:
    assert read_intent(tmp_path / "pilotlight.json") == Intent(tier=Tier.AUTO)


def test_an_intent_that_is_impossible_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pilotlight.json"
    path.write_text('{"tier": "lukewarm"}')

    with pytest.raises(
        InvalidArtifact, match=r"(?s)pilotlight\.json cannot be read: .*'hot', 'warm', 'cold'"
    ):
        read_intent(path)
