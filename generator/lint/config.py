"""The rules about one config, for the pipeline: found before a version is published. Pure.

Rules about the message alone are checked before the export, all of them before publishing.
"""

from collections.abc import Iterable, Mapping

from contract.config import parse_config
from contract.layout import CONFIG, ONNX_MODEL, WARMUP
from generator.errors import ConfigRefused
from generator.lint.check import lint
from generator.lint.finding import Rule
from generator.lint.repository import Entry, Graph, Model, Repository, Tensor
from generator.lint.rules import acceleration, config, of, releases, tensors, warmup, warmup_files
from generator.releases import NEWEST, release
from generator.reports import GraphTensor, VerifyReport

_ABOUT_MESSAGE = of(config, warmup, acceleration, releases)
_ALL = (*_ABOUT_MESSAGE, *of(tensors, warmup_files))
# Of the version that is to be published; nothing depends on its number.
_VERSION = "1"
_NO_GRAPH = Graph(inputs=(), outputs=())


def check_message(text: str, model: str, *, triton: str = NEWEST) -> None:
    """Parse a config and check what it says about itself.

    Raises:
        InvalidArtifact: no config that Triton would read.
        ConfigRefused: names the field, the numbers and the remedy for each problem.
    """
    _refuse(model, _repository(text, model, triton, {}, _NO_GRAPH), _ABOUT_MESSAGE)


def check(
    text: str,
    model: str,
    *,
    graph: VerifyReport,
    warmup: Mapping[str, int],
    triton: str = NEWEST,
) -> None:
    """`check_message`, and the config against the graph and the warm-up files' sizes.

    Raises:
        InvalidArtifact, ConfigRefused: as `check_message`.
    """
    files = {f"{WARMUP}/{name}": Entry(bytes=size) for name, size in warmup.items()}
    files |= {_VERSION: Entry(is_folder=True), f"{_VERSION}/{ONNX_MODEL}": Entry()}
    _refuse(model, _repository(text, model, triton, files, _graph(graph)), _ALL)


def _refuse(model: str, repository: Repository, rules: Iterable[Rule]) -> None:
    found = lint(repository, rules)
    if found:
        told = "; ".join(f"{each.problem.what}; {each.rule.remedy}" for each in found)
        raise ConfigRefused(f"Triton would not serve {model} as it should: {told}")


def _repository(
    text: str,
    model: str,
    triton: str,
    files: Mapping[str, Entry],
    graph: Graph,
) -> Repository:
    parse_config(text, f"the config of {model}")
    found = Model(name=model, entries=files, texts={CONFIG: text}, contents=_Contents(graph))
    return Repository(entries={}, models={model: found}, release=release(triton))


class _Contents:
    """The graph as ONNX Runtime told it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def graph(self, path: str) -> Graph:
        return self._graph

    def data(self, path: str) -> bytes:
        """Only asked for where the rows of tables are known; the probe has tried the data."""
        return b""


def _graph(report: VerifyReport) -> Graph:
    return Graph(
        inputs=[_tensor(each) for each in report.inputs],
        outputs=[_tensor(each) for each in report.outputs],
        defaults=[_tensor(each) for each in report.defaults],
    )


def _tensor(found: GraphTensor) -> Tensor:
    return Tensor(name=found.name, data_type=found.datatype.config_name, shape=found.shape)
