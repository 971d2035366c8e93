"""A model repository as it was found. Rules read it and nothing else."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from google.protobuf.text_format import Parse, ParseError
from tritonclient.grpc import model_config_pb2

from contract.config import ModelConfig
from contract.layout import CONFIG, MAX_VERSION, WARMUP
from generator.lint.backends import FILES, PLATFORMS, USUAL_FILE
from generator.lint.lines import Lines, Step
from generator.releases import Release

VARIANTS = "configs"
FOLDERS = (WARMUP, VARIANTS, "initial_state")
"""Those of a model that are no versions, and into which Triton looks."""
ENSEMBLE = "ensemble"

_NUMBER = re.compile(r"0|[1-9][0-9]*")
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER_BYTES = 1024
# As std::stoll reads a name: what follows the number is not looked at.
_STOLL = re.compile(r"\s*[+-]?\d+")


@dataclass(frozen=True, slots=True)
class Place:
    """`path` is relative to the repository."""

    path: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or a folder; of a link, what it leads to.

    `target` is None but for links; `leaves` is set where one leads out of the repository,
    `leads_up` where it leads to a folder around it. `modified_s` is in seconds since the epoch.
    """

    is_folder: bool = False
    bytes: int = 0
    modified_s: float = 0.0
    target: str | None = None
    is_dangling: bool = False
    leaves: bool = False
    leads_up: bool = False


_NOTHING = Entry(is_dangling=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of a graph; `shape` is with the batch dimension, -1 where it varies."""

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """An ONNX graph.

    `defaults` are the initializers that a request may replace. `external` are the files of its
    weights, `table_rows` the rows of the smallest table that an input picks from; None where
    nobody looked.
    """

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    defaults: Sequence[Tensor] = ()
    opset: int = 0
    ir: int = 0
    external: frozenset[str] = frozenset()
    table_rows: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Instead of a graph."""

    reason: str


class Contents(Protocol):
    """What is read only where a rule asks for it; paths are relative to the model's folder."""

    def graph(self, path: str) -> Graph | Unreadable: ...

    def data(self, path: str) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Model:
    """A folder at the root. `texts` are its configs by path; `entries` lie below it."""

    name: str
    entries: Mapping[str, Entry]
    texts: Mapping[str, str]
    contents: Contents

    def at(self, path: str = "") -> Place:
        return Place(f"{self.name}/{path}" if path else self.name)

    def has(self, path: str) -> bool:
        """Whether there is something behind the name."""
        return path in self.entries and not self.entries[path].is_dangling

    def is_pointer(self, path: str) -> bool:
        """Whether Git LFS has yet to put a file there."""
        entry = self.entries.get(path, _NOTHING)
        is_small = not entry.is_folder and 0 < entry.bytes <= _LARGEST_POINTER_BYTES
        return is_small and self.contents.data(path).startswith(_POINTER)

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders directly in it."""
        return tuple(
            name for name, entry in self.entries.items() if entry.is_folder and "/" not in name
        )

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """Ascending; those that Triton finds under the name that it then looks for."""
        numbers = (int(name) for name in self.folders if _NUMBER.fullmatch(name))
        return tuple(sorted(number for number in numbers if number <= MAX_VERSION))

    @cached_property
    def configs(self) -> tuple["Config", ...]:
        """Those that protobuf can parse. Triton takes one that is missing for an empty one."""
        return tuple(
            Config(self, path, self.texts.get(path, ""), message)
            for path, message in self._parsed.items()
            if not isinstance(message, ParseError)
        )

    @cached_property
    def config(self) -> "Config | None":
        """The one that a server reads which is not told another."""
        return next((config for config in self.configs if config.path == CONFIG), None)

    @property
    def parse_errors(self) -> dict[str, ParseError]:
        return {path: said for path, said in self._parsed.items() if isinstance(said, ParseError)}

    @cached_property
    def _parsed(self) -> dict[str, ModelConfig | ParseError]:
        return {path: _parse(text) for path, text in {CONFIG: "", **self.texts}.items()}


@dataclass(frozen=True)
class Config:
    """One `config.pbtxt` of a model, or one that `--model-config-name` picks."""

    model: Model
    path: str
    text: str
    message: ModelConfig

    def at(self, *field: Step) -> Place:
        """Where a field stands; see `Lines.of`."""
        if self.path not in self.model.texts:
            return self.model.at()
        return Place(f"{self.model.name}/{self.path}", self.lines.of(*field))

    @cached_property
    def lines(self) -> Lines:
        return Lines(self.text)

    @cached_property
    def backend(self) -> str:
        """Said, or told by platform or file as Triton does; empty where nothing tells."""
        said = self.message
        if said.platform == ENSEMBLE or said.HasField("ensemble_scheduling"):
            return ENSEMBLE
        return (
            said.backend
            or self.platform_backend
            or FILES.get(said.default_model_filename, "")
            or self._told_by_file()
        )

    @property
    def platform_backend(self) -> str:
        """The backend that its platform belongs to, if any."""
        return PLATFORMS.get(self.message.platform, "")

    def _told_by_file(self) -> str:
        present = (
            backend
            for version in self.model.versions[:1]
            for name, backend in FILES.items()
            if f"{version}/{name}" in self.model.entries
        )
        return next(present, "")

    @property
    def filled_in(self) -> tuple[str, ...]:
        """Inputs that Triton fills in itself, for sequences and ragged batches."""
        said = self.message
        return (
            *(control.name for control in said.sequence_batching.control_input),
            *(state.input_name for state in said.sequence_batching.state),
            *(name for tensor in said.batch_input for name in tensor.target_name),
        )

    @cached_property
    def served(self) -> tuple[int, ...]:
        """Versions that its policy picks of those that there are."""
        there = self.model.versions
        policy = self.message.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return there
            case "specific":
                return tuple(each for each in there if each in policy.specific.versions)
            case _:
                return there[-(policy.latest.num_versions or 1) :]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Names of what its backend opens in a version's folder; empty where we do not know."""
        said = self.message
        if said.runtime:
            return ()
        if said.cc_model_filenames:
            return tuple(said.cc_model_filenames.values())
        if said.default_model_filename:
            return (said.default_model_filename,)
        if said.platform == "tensorflow_graphdef":
            return ("model.graphdef",)
        usual = USUAL_FILE.get(self.backend)
        return (usual,) if usual else ()

    @cached_property
    def graphs(self) -> Mapping[str, Graph | Unreadable]:
        """Of the versions that are served, by path."""
        if self.backend != "onnxruntime":
            return {}
        paths = [f"{version}/{name}" for version in self.served for name in self.files]
        opened = (f"{path}/model.onnx" if self._is_folder(path) else path for path in paths)
        return {path: self.model.contents.graph(path) for path in opened if self.model.has(path)}

    @property
    def read_graphs(self) -> Iterator[tuple[str, Graph]]:
        for path, graph in self.graphs.items():
            if isinstance(graph, Graph):
                yield path, graph

    def _is_folder(self, path: str) -> bool:
        return path in self.model.entries and self.model.entries[path].is_folder

    def warmup_entry(self, file: str) -> Entry | None:
        path = f"{WARMUP}/{file}"
        return self.model.entries[path] if self.model.has(path) else None


@dataclass(frozen=True, kw_only=True)
class Repository:
    """`entries` are those at the root; `read_s` is when, in seconds since the epoch."""

    entries: Mapping[str, Entry]
    models: Mapping[str, Model]
    release: Release
    read_s: float = 0.0

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        return tuple(config for model in self.models.values() for config in model.configs)


def version_read(name: str) -> int | None:
    """The version that Triton takes a folder for; None where it ignores the folder."""
    if len(name) > 1 and name.startswith("0"):
        return None
    found = _STOLL.match(name)
    return int(found[0]) if found else None


def _parse(text: str) -> ModelConfig | ParseError:
    try:
        return Parse(text, model_config_pb2.ModelConfig())
    except ParseError as error:
        return error


def type_name(number: int) -> str:
    """`TYPE_FP32` and the like, of a parsed config."""
    known = model_config_pb2.DataType.DESCRIPTOR.values_by_number
    return known[number].name if number in known else str(number)
