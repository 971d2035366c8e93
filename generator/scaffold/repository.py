"""A look at a Triton repository, or at an ONNX file: an entry for each ONNX model."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from contract.config import ModelConfig, parse_config
from contract.errors import InvalidArtifact
from contract.layout import CONFIG, ONNX_MODEL, is_model_name
from generator import worker
from generator.errors import NothingFound
from generator.recipe import Target
from generator.scaffold.entry import Model, clients_version, entry, kinds, unknown_outputs
from generator.scaffold.found import (
    Found,
    FoundEnsemble,
    FoundStep,
    Graph,
    GraphsJob,
    GraphsReport,
)

_VERSION = re.compile(r"[1-9][0-9]*")
_ENSEMBLE = "ensemble"
_TOLD = 3


def look(root: Path, *, recipe_folder: Path, scratch: Path) -> tuple[Found, Target]:
    """An entry for each ONNX model below `root`, with paths from `recipe_folder`, and the target.

    Raises:
        NothingFound: there is no ONNX model.
    """
    left_out: list[str] = []
    configs = dict(_configs(root, left_out))
    models = list(_graphs(list(_models(root, configs, left_out)), left_out, scratch))
    if not models:
        more = f" and {len(left_out) - _TOLD} more" if len(left_out) > _TOLD else ""
        seen = f" ({'; '.join(left_out[:_TOLD])}{more})" if left_out else ""
        raise NothingFound(
            f"{root} holds no ONNX model{seen}; name the folder whose folders are models, as "
            "tritonserver's --model-repository does"
        )
    target = _target([model.config for model, _ in models])
    entries = tuple(entry(model, graph, target, recipe_folder) for model, graph in models)
    for model, graph in models:
        left_out += [f"{model.name}: {why}" for why in unknown_outputs(model, graph)]
    ensembles = tuple(_ensembles(root, configs, {made.name for made in entries}, left_out))
    return Found(models=entries, ensembles=ensembles, left_out=tuple(left_out)), target


def look_at_file(file: Path, *, recipe_folder: Path, scratch: Path) -> Found:
    """An entry for an ONNX file that lies in no repository.

    Raises:
        NothingFound: it is none.
    """
    problems: list[str] = []
    alone = Model(file.stem, parse_config("", str(file)), file)
    models = [
        entry(model, graph, "auto", recipe_folder)
        for model, graph in _graphs([alone], problems, scratch)
    ]
    if not models:
        raise NothingFound("; ".join(problems))
    return Found(models=tuple(models))


def _configs(root: Path, left_out: list[str]) -> Iterator[tuple[str, ModelConfig]]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if is_model_name(folder.name):
            path = folder / CONFIG
            try:
                config = parse_config(path.read_text() if path.exists() else "", str(path))
            except (InvalidArtifact, UnicodeDecodeError) as error:
                left_out.append(f"{folder.name}: {' '.join(str(error).split())}")
            else:
                yield folder.name, config


def _models(root: Path, configs: Mapping[str, ModelConfig], left_out: list[str]) -> Iterator[Model]:
    for name, config in configs.items():
        backend = config.backend or config.platform
        if config.HasField("sequence_batching"):
            left_out.append(
                f"{name}: in a recipe the control tensors of a sequence are inputs; write its "
                "entry by hand"
            )
        elif backend not in ("", _ENSEMBLE, "onnxruntime", "onnxruntime_onnx"):
            left_out.append(f"{name}: {backend}; it stays as it is")
        elif backend == _ENSEMBLE:
            continue
        else:
            file = config.default_model_filename or ONNX_MODEL
            folder = root / name
            versions = [each for each in _versions(folder) if (folder / f"{each}/{file}").is_file()]
            if versions:
                yield Model(name, config, folder / f"{versions[-1]}/{file}", tuple(versions))
            else:
                left_out.append(f"{name}: no version has an ONNX file")


def _versions(folder: Path) -> list[int]:
    """Ascending."""
    names = (path.name for path in folder.iterdir())
    return sorted(int(name) for name in names if _VERSION.fullmatch(name))


def _graphs(
    models: Sequence[Model], left_out: list[str], scratch: Path
) -> Iterator[tuple[Model, Graph]]:
    """With the graphs of their files, read in a worker."""
    job = GraphsJob(files=tuple(model.file.absolute() for model in models))
    report = worker.run("generator.scaffold.graph", job, GraphsReport, scratch=scratch, cwd=scratch)
    for model, graph in zip(models, report.graphs, strict=True):
        if isinstance(graph, Graph):
            yield model, graph
        else:
            left_out.append(f"{model.name}: {graph}")


def _target(configs: Sequence[ModelConfig]) -> Target:
    """Where all instances run, if that is one place."""
    found = set[str]().union(*map(kinds, configs))
    return "cpu" if found == {"cpu"} else "gpu" if found == {"gpu"} else "auto"


def _ensembles(
    root: Path,
    configs: Mapping[str, ModelConfig],
    models: Set[str],
    left_out: list[str],
) -> Iterator[FoundEnsemble]:
    for name, config in configs.items():
        steps = config.ensemble_scheduling.step
        if foreign := {step.model_name for step in steps} - models:
            left_out.append(
                f"{name}: an ensemble with {', '.join(sorted(foreign))}, of which there is no "
                "entry; it stays as it is"
            )
        elif config.platform == _ENSEMBLE:
            yield FoundEnsemble(
                name=name,
                version=clients_version(_versions(root / name)),
                inputs=[item.name for item in config.input],
                outputs=[item.name for item in config.output],
                steps=[
                    FoundStep(
                        model=step.model_name,
                        inputs=dict(step.input_map),
                        outputs=dict(step.output_map),
                    )
                    for step in steps
                ],
            )
