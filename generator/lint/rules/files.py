"""The files that a model needs."""

from collections.abc import Iterator

from contract.bytes import format_bytes
from generator.lint.finding import Problem, Severity, rule
from generator.lint.repository import Config, Repository

# As the Python backend spells it.
_MODEL_FOLDER = "$$TRITON_MODEL_DIRECTORY/"
# Below, a load takes milliseconds however it is kept.
_MANY_BYTES = 16 << 20


@rule(
    "PL111",
    Severity.ERROR,
    why=(
        "The backend opens this file when the version loads. Where the Python backend does not "
        "find it, the load does not even end (24.10)."
    ),
    remedy="put the file there, or name the right one in default_model_filename",
)
def model_file_missing(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        for version in config.served:
            for name in config.files:
                if not config.model.has(f"{version}/{name}"):
                    yield Problem(
                        config.model.at(str(version)),
                        f"backend {config.backend} wants {name}, which is not there",
                    )


@rule(
    "PL112",
    Severity.ERROR,
    why=(
        "An ONNX file names the files of its weights relative to itself; without them ONNX "
        "Runtime refuses it."
    ),
    remedy="copy the file that belongs to the model, or export the model again",
)
def weights_missing(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        for graph, weights in _weights(config):
            if not config.model.has(weights):
                yield Problem(
                    config.model.at(graph), f"its weights are in {weights}, which is not there"
                )


@rule(
    "PL113",
    Severity.ERROR,
    why="Triton reads label files, relative to the model's folder, when it loads the model.",
    remedy="put the file beside config.pbtxt, or drop label_filename",
)
def labels_missing(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        for index, tensor in enumerate(config.message.output):
            if tensor.label_filename and not config.model.has(tensor.label_filename):
                yield Problem(
                    config.at("output", index, "label_filename"),
                    f"output {tensor.name} has its labels in {tensor.label_filename}, which is "
                    "not there",
                )


@rule(
    "PL116",
    Severity.ERROR,
    why="A backend takes the three lines that Git LFS leaves in place of a large file for a model.",
    remedy="run `git lfs pull` where the repository was cloned",
)
def pointer_instead_of_file(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        files = [f"{version}/{name}" for version in config.served for name in config.files]
        for path in [*files, *(weights for _, weights in _weights(config))]:
            if config.model.is_pointer(path):
                yield Problem(config.model.at(path), "it is a pointer of Git LFS, not the file")


@rule(
    "PL117",
    Severity.ERROR,
    why="The Python backend unpacks it when the model loads, and refuses the load without it.",
    remedy="put the archive of conda-pack there, or correct EXECUTION_ENV_PATH",
)
def environment_missing(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        said = config.message.parameters
        path = said["EXECUTION_ENV_PATH"].string_value if "EXECUTION_ENV_PATH" in said else ""
        # Other paths are those of the machine that serves.
        if config.backend == "python" and path.startswith(_MODEL_FOLDER):
            file = path.removeprefix(_MODEL_FOLDER)
            if not config.model.has(file):
                yield Problem(
                    config.at("parameters", "EXECUTION_ENV_PATH"),
                    f"EXECUTION_ENV_PATH is {file} in the model's folder, which is not there",
                )


@rule(
    "PL118",
    Severity.WARNING,
    why=(
        "ONNX Runtime copies weights that lie in the graph's file, for each instance, and maps "
        "those of a file beside it: 103 MB load in 8 ms instead of 126, and instances share them."
    ),
    remedy="save it again with onnx.save_model(model, path, save_as_external_data=True)",
)
def weights_in_graph(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        for path, _ in config.read_graphs:
            size = config.model.entries[path].bytes
            if size >= _MANY_BYTES:
                yield Problem(
                    config.model.at(path), f"{format_bytes(size)} lie in the graph's own file"
                )


def _weights(config: Config) -> Iterator[tuple[str, str]]:
    """Each graph's file with the files of its weights, which it names relative to itself."""
    for path, graph in config.read_graphs:
        folder = path.rpartition("/")[0]
        for name in sorted(graph.external):
            yield path, f"{folder}/{name}"
