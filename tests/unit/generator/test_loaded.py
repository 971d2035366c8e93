"""What weights take in memory, by the files that PyTorch and safetensors write."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from generator.loaded import loaded_bytes

SIZE = 1 << 10
HALF, WHOLE = SIZE * SIZE * 2, SIZE * SIZE * 4
SLACK = 1 << 16
"""More than what else is in such a file."""

Write = Callable[[Path, torch.dtype], None]


def linear(dtype: torch.dtype) -> torch.nn.Module:
    return torch.nn.Linear(SIZE, SIZE, bias=False).to(dtype).eval()


def write_safetensors(path: Path, dtype: torch.dtype) -> None:
    save_file(linear(dtype).state_dict(), path, metadata={"format": "pt"})


def write_state_dict(path: Path, dtype: torch.dtype) -> None:
    torch.save(linear(dtype).state_dict(), path)


def write_program(path: Path, dtype: torch.dtype) -> None:
    example = (torch.zeros(2, SIZE, dtype=dtype),)
    torch.export.save(torch.export.export(linear(dtype), example), path)


WRITERS: dict[str, Write] = {
    "m.safetensors": write_safetensors,
    "m.pt": write_state_dict,
    "m.pt2": write_program,
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "write"), list(WRITERS.items()))
def test_half_precision_counts_as_the_float32_that_is_built_of_it(
    tmp_path: Path, name: str, write: Write, dtype: torch.dtype
) -> None:
    path = tmp_path / name
    write(path, dtype)

    assert path.stat().st_size < HALF + SLACK
    assert WHOLE <= loaded_bytes(path) < WHOLE + 2 * SLACK


@pytest.mark.parametrize(("name", "write"), list(WRITERS.items()))
def test_float32_counts_as_it_is(tmp_path: Path, name: str, write: Write) -> None:
    path = tmp_path / name
    write(path, torch.float32)

    assert loaded_bytes(path) == path.stat().st_size


def test_of_safetensors_only_what_is_in_half_precision_counts_twice(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(3), "b": torch.zeros(5, dtype=torch.bfloat16)}, path)

    assert loaded_bytes(path) == path.stat().st_size + 10


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "labels.txt"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x05\0\0\0\0\0\0\0[1,2]", b"\xff" * 40])
def test_what_is_no_such_file_counts_as_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    assert loaded_bytes(path) == len(content)
