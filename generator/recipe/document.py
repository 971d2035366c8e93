"""`models.yaml` as a whole."""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from contract.files import reason_of
from contract.strict import Document, what
from generator import releases
from generator.errors import RecipeError
from generator.recipe.ensemble import EnsembleRecipe
from generator.recipe.formats import OnnxTensorRT, TensorRT
from generator.recipe.model import ModelRecipe
from generator.recipe.serving import Target, kinds
from generator.recipe.tensors import not_empty


class Recipe(Document):
    """A model repository to build."""

    # No release is refused below: whoever builds may name one that the file does not.
    triton: str = Field(default_factory=str, validate_default=True)
    """The release that will serve the repository, such as "24.10". Needed, unless the build is
    told: `pilotlight build --triton 24.10`."""
    target: Target
    """Where instances run: `cpu`, `gpu`, or `auto`, which leaves it to Triton."""
    keep: PositiveInt = 3
    """Newest versions of each model that `pilotlight prune` leaves. None that is in use goes."""
    models: Annotated[tuple[ModelRecipe, ...], AfterValidator(not_empty)]
    """What is built, each version once."""
    ensembles: tuple[EnsembleRecipe, ...] = ()
    """Models chained into one. Each once, under a name that no model has."""

    @field_validator("triton", mode="before")
    @classmethod
    def _is_a_release(cls, triton: object) -> object:
        if not triton:
            raise ValueError(
                f'which release will serve? write triton: "{releases.OLDEST}", or say it to '
                f"`pilotlight build --triton {releases.OLDEST}`"
            )
        # A number would have lost the last zero of 24.10.
        return releases.release(triton if isinstance(triton, str) else repr(triton)).name

    @property
    def release(self) -> releases.Release:
        return releases.release(self.triton)

    @model_validator(mode="after")
    def _tensorrt_has_a_gpu(self) -> Self:
        for model in self.models:
            where = kinds(self.target, model.instances)
            # ONNX Runtime leaves TensorRT out where an instance runs on the CPU.
            is_left_out = isinstance(model.format, OnnxTensorRT) and where == {"cpu"}
            if is_left_out or (isinstance(model.format, TensorRT) and "cpu" in where):
                raise ValueError(
                    f"model {model.name}: format {model.format.kind} runs on a GPU, not on the "
                    "cpu; write target: gpu, or format: onnx"
                )
        return self

    @model_validator(mode="after")
    def _each_version_once(self) -> Self:
        names = [model.name for model in self.models]
        seen = [(model.name, model.version) for model in self.models]
        for name, version in seen:
            if seen.count((name, version)) > 1 or (version is None and names.count(name) > 1):
                raise ValueError(
                    f"model {name} has {names.count(name)} entries; give each a version of its own"
                )
        return self

    @model_validator(mode="after")
    def _names_differ_in_more_than_case(self) -> Self:
        """Each is a folder, and not every file system tells `Ranker` from `ranker`."""
        spelled: dict[str, str] = {}
        names = [model.name for model in self.models] + [entry.name for entry in self.ensembles]
        for name in names:
            first = spelled.setdefault(name.casefold(), name)
            if first != name:
                raise ValueError(
                    f"{first} and {name} differ in upper and lower case only; rename one"
                )
        return self

    @model_validator(mode="after")
    def _ensembles_have_names_of_their_own(self) -> Self:
        names = [entry.name for entry in self.ensembles]
        models = {model.name for model in self.models}
        for name in names:
            if name in models or names.count(name) > 1:
                raise ValueError(
                    f"ensemble {name}: the name is taken by "
                    f"{'a model' if name in models else 'another ensemble'}; choose another"
                )
        return self


def load_recipe(path: Path, *, triton: str | None = None) -> Recipe:
    """Read a recipe; `triton` is the release of one that names none.

    Raises:
        RecipeError: unreadable, of another release than `triton`, or something in it is
            impossible; names file, model and key.
    """
    try:
        # In C: of two hundred models the one in Python takes longer than all that follows.
        with path.open(encoding="utf-8") as file:
            data = yaml.load(file, Loader=yaml.CSafeLoader)
        if triton and isinstance(data, dict) and data.setdefault("triton", triton) != triton:
            raise RecipeError(
                f"{path}: recipe: triton: the recipe says {data['triton']}, the build was asked "
                f"for {triton}; take `triton` out of the recipe, or build for {data['triton']}"
            )
        return Recipe.model_validate(data)
    except OSError as error:
        raise RecipeError(
            f"recipe {path} cannot be read: {reason_of(error)}; name another, or let "
            "`pilotlight init` write one"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {path} is not UTF-8: {error}; save it so") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {path} is no YAML: {error}") from error
    except ValidationError as error:
        problems = [_describe(problem, data) for problem in error.errors()]
        raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems)) from error


def _describe(problem: ErrorDetails, data: Any) -> str:
    """`model ranker: input tokens: dtype: what is wrong`; entries of lists go by their names."""
    named, keys, inside = list[str](), list[str](), data
    for part in problem["loc"]:
        inside = _at(part, inside)
        name = inside.get("name") if isinstance(part, int) and isinstance(inside, dict) else None
        if name:
            named.append(f"{keys.pop().removesuffix('s')} {name}")
        else:
            keys.append(str(part))
    return ": ".join(filter(None, [*(named or ["recipe"]), ".".join(keys), what(problem, Recipe)]))


def _at(part: int | str, data: Any) -> Any:
    """None where a part is in no file: the tag of a union."""
    if isinstance(data, list) and isinstance(part, int):
        return data[part]
    return data.get(part) if isinstance(data, dict) else None
