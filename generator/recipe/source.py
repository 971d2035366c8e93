"""Where a model comes from. Which keys belong to which source is decided here."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from generator.errors import StageRefused

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

SOURCES = ("source", "program", "onnx", "huggingface")
_ONLY_WITH = {
    "weights": ("source",),
    "seed": ("source",),
    "args": ("source", "huggingface"),
    "depends": ("source",),
    "golden": ("onnx",),
}


def _callable(text: str) -> str:
    if not _CALLABLE.fullmatch(text):
        raise ValueError(f"{text!r} is not of the form module:callable")
    return text


def _path(text: str) -> str:
    if not text or ".." in PurePosixPath(text).parts:
        raise ValueError(
            f"{text!r} leads out of the recipe's folder; put the file there, or write an "
            "absolute path"
        )
    return text


Callable = Annotated[str, AfterValidator(_callable)]
# Below the recipe's folder, or absolute: weights often lie on a disk of their own. Never `..`,
# which is somewhere else in each checkout.
FilePath = Annotated[str, AfterValidator(_path)]


def source_of(said: Mapping[str, object]) -> str:
    """Which of SOURCES an entry names; `said` holds its keys that are set.

    Raises:
        ValueError: none, several, or a key that belongs to another.
    """
    named = [key for key in SOURCES if said.get(key)]
    if len(named) != 1:
        raise ValueError(
            f"{' and '.join(named) or 'nothing'} says where the model comes from; write exactly "
            f"one of {', '.join(SOURCES)}"
        )
    (source,) = named
    for key, sources in _ONLY_WITH.items():
        if said.get(key) and source not in sources:
            raise ValueError(f"{key} belongs to {' or '.join(sources)}, this model has {source}")
    return source


def module_files(source: str, folder: Path) -> list[Path]:
    """Where the module of a callable may lie in the recipe's folder; one of them is there.

    Raises:
        StageRefused: none is.
    """
    name, _, _ = source.partition(":")
    relative = Path(*name.split("."))
    files = [folder / relative.with_suffix(".py"), folder / relative / "__init__.py"]
    if not any(path.is_file() for path in files):
        raise StageRefused(f"source {source}: there is no {relative}.py in {folder}")
    return files
