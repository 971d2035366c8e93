"""The way in: what somebody has, as the text of a recipe."""

import tempfile
from pathlib import Path

from generator import worker
from generator.errors import NothingFound
from generator.recipe import Target
from generator.scaffold import huggingface, repository
from generator.scaffold.found import Found, LookJob
from generator.scaffold.text import recipe_text


def begin(what: Path, *, recipe_folder: Path, triton: str) -> str:
    """A recipe for what somebody has, to go to `recipe_folder`.

    That is a Python file, an ONNX file, a Triton repository, or a folder of Hugging Face or of
    several such.

    Raises:
        GeneratorError: nothing there can be the beginning of a recipe; says what was seen.
    """
    if not what.is_dir() and not (what.suffix in (".py", ".onnx") and what.is_file()):
        raise NothingFound(
            f"{what} is no Python file, no ONNX file and no folder; name the file that makes the "
            "models, a model, the folder that tritonserver reads them from, or one of Hugging Face"
        )
    with tempfile.TemporaryDirectory(prefix="pilotlight-") as folder:
        found, target = _look(what, recipe_folder, Path(folder))
    return recipe_text(found, origin=str(what), triton=triton, target=target)


def _look(what: Path, recipe_folder: Path, scratch: Path) -> tuple[Found, Target]:
    if what.is_dir() and (folders := huggingface.folders(what)):
        return huggingface.look(folders, recipe_folder=recipe_folder), "cpu"
    if what.is_dir():
        return repository.look(what, recipe_folder=recipe_folder, scratch=scratch)
    if what.suffix == ".onnx":
        found = repository.look_at_file(what, recipe_folder=recipe_folder, scratch=scratch)
        return found, "cpu"
    job = LookJob(module=what.resolve())
    module = "generator.scaffold.module"
    return worker.run(module, job, Found, scratch=scratch, cwd=job.module.parent), "cpu"
