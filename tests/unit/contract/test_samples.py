import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from tritonclient.utils import deserialize_bytes_tensor

from contract.dtypes import Datatype, datatype_of
from contract.errors import InvalidArtifact, UnsupportedDatatype
from contract.samples import GoldenSample, read_golden, warmup_bytes, write_golden

NUMERIC = [datatype for datatype in Datatype if datatype is not Datatype.BYTES]


def same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


@given(
    values=st.lists(
        st.sampled_from(NUMERIC).flatmap(
            lambda datatype: arrays.arrays(datatype.numpy, arrays.array_shapes(min_side=0))
        ),
        min_size=1,
        max_size=3,
    )
)
def test_samples_come_back_bit_by_bit(
    values: list[NDArray[np.generic]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """NaN and infinity included."""
    path = tmp_path_factory.mktemp("golden") / "golden.npz"
    written = [GoldenSample({"in/put": value}, {"out": value}) for value in values]

    write_golden(path, written)
    read = read_golden(path)

    assert len(read) == len(written)
    for back, value in zip(read, values, strict=True):
        assert same(back.inputs["in/put"], value)
        assert same(back.outputs["out"], value)


def test_more_than_ten_samples_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    write_golden(path, [GoldenSample({"x": np.int64([n])}, {}) for n in range(12)])

    assert [int(sample.inputs["x"][0]) for sample in read_golden(path)] == list(range(12))


def test_bytes_come_back_as_objects(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    words = np.array([[b"user", "caf\u00e9".encode()], [b"", b"a b"]], dtype=np.object_)

    write_golden(path, [GoldenSample({"words": words}, {})])

    (back,) = read_golden(path)
    assert back.inputs["words"].dtype == np.object_
    assert back.inputs["words"].tolist() == words.tolist()


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    """Otherwise a build that changed nothing would look changed."""
    samples = [GoldenSample({"x": np.float32([1])}, {"y": np.array([b"a"], np.object_)})]
    write_golden(tmp_path / "one", samples)
    os.utime(tmp_path / "one", (1, 1))
    write_golden(tmp_path / "two", samples)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def good_archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"0/input/x": np.zeros(100), "0/output/y": np.zeros(100)})
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        good_archive()[:200],
        good_archive().replace(b"0/input", b"x/input"),
        good_archive().replace(b"NUMPY", b"NUMPX"),
    ],
    ids=["empty", "text", "cut off", "without an index", "no arrays"],
)
def test_golden_samples_that_cannot_be_read_are_named(tmp_path: Path, content: bytes) -> None:
    """As `InvalidArtifact`, whatever numpy makes of them: it is evidence against the version."""
    path = tmp_path / "golden.npz"
    path.write_bytes(content)

    with pytest.raises(InvalidArtifact, match=r"golden\.npz .*build the version again"):
        read_golden(path)


def test_a_file_with_one_sample_may_leave_the_index_out(tmp_path: Path) -> None:
    """So that people write it by hand."""
    path = tmp_path / "golden.npz"
    np.savez(path, **{"input/x": np.int64([1]), "output/in/y": np.int64([2])})

    (sample,) = read_golden(path)

    assert sample.inputs["x"].tolist() == [1]
    assert sample.outputs["in/y"].tolist() == [2]


@pytest.mark.parametrize("key", ["x", "inputs/x", "0/x", "-1/input/x", "input/"])
def test_a_key_that_is_no_input_or_output_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "golden.npz"
    np.savez(path, **{key: np.int64([1])})

    with pytest.raises(InvalidArtifact, match=f"'{key}' is no key like 0/input/<name>"):
        read_golden(path)


def test_missing_golden_samples_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"golden\.npz cannot be read"):
        read_golden(tmp_path / "golden.npz")


def test_golden_samples_never_unpickle(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with path.open("wb") as file:
        np.savez(file, **{"0/input/x": np.array([{"any": "object"}], dtype=np.object_)})

    with pytest.raises(InvalidArtifact, match="cannot be read"):
        read_golden(path)


def test_an_archive_without_a_sample_is_named(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    write_golden(path, [])

    with pytest.raises(InvalidArtifact, match="hold no sample"):
        read_golden(path)


def test_warm_up_data_is_row_major() -> None:
    square = np.arange(4, dtype=np.int32).reshape(2, 2)

    assert warmup_bytes(square.T) == np.int32([0, 2, 1, 3]).tobytes()


def test_warm_up_words_carry_their_lengths() -> None:
    words = np.array([b"user", b""], dtype=np.object_)

    assert warmup_bytes(words) == b"\x04\x00\x00\x00user\x00\x00\x00\x00"
    assert deserialize_bytes_tensor(warmup_bytes(words)).tolist() == words.tolist()


@pytest.mark.parametrize("datatype", Datatype)
def test_every_datatype_has_an_array_and_every_array_its_datatype(datatype: Datatype) -> None:
    assert datatype_of(np.zeros(1, dtype=datatype.numpy)) is datatype
    assert datatype_of(np.zeros(1, dtype="S4")) is Datatype.BYTES


def test_an_array_that_triton_cannot_carry_is_refused() -> None:
    with pytest.raises(UnsupportedDatatype, match="no Triton datatype for numpy dtype complex128"):
        datatype_of(np.zeros(1, dtype=np.complex128))


def test_the_file_is_a_plain_archive(tmp_path: Path) -> None:
    """So that it can be looked at without this package."""
    path = tmp_path / "golden.npz"
    write_golden(path, [GoldenSample({"x": np.float32([1])}, {"y": np.float32([2])})])

    with np.load(io.BytesIO(path.read_bytes())) as archive:
        assert archive.files == ["0/input/x", "0/output/y"]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_zeros_at_the_end_of_words_come_back(tmp_path: Path, kind: str) -> None:
    """They count: to a server they are as much of an answer as any other byte."""
    path = tmp_path / "golden.npz"
    words = np.array([[b"ab\0", b"\0\0"], [b"", b"a\0b"]], dtype=np.object_)
    sample = (
        GoldenSample({"in/put": words}, {}) if kind == "input" else GoldenSample({}, {"w": words})
    )

    write_golden(path, [sample, GoldenSample({"x": np.int64([1])}, {})])

    first, second = read_golden(path)
    (back,) = (first.inputs or first.outputs).values()
    assert (back.dtype, back.tolist()) == (np.object_, words.tolist())
    assert list(second.inputs) == ["x"]


def test_words_without_zeros_are_stored_as_plainly_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    write_golden(path, [GoldenSample({"w": np.array([b"a", b""], np.object_)}, {})])

    with np.load(path) as archive:
        assert archive.files == ["0/input/w"]


def test_one_array_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))

    with pytest.raises(InvalidArtifact, match=r"golden\.npz cannot be read: it is one array"):
        read_golden(path)


def test_a_bit_that_flipped_is_harmless_or_evidence_against_the_version(tmp_path: Path) -> None:
    """Down to encrypted members and unknown compressions, for which zipfile has other errors."""
    path = tmp_path / "golden.npz"
    write_golden(path, [GoldenSample({"x": np.int64([1])}, {})])
    whole, named = path.read_bytes(), 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 8
        path.write_bytes(damaged)
        try:
            read_golden(path)
        except InvalidArtifact:
            named += 1

    assert named > len(whole) // 2
