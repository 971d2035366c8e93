"""`models.yaml`: which models to build, and how."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from contract.dtypes import Datatype
from contract.errors import InvalidVersion
from contract.intent import Intent, Seconds, Tier
from contract.layout import is_model_name, parse_version
from contract.strict import Strict
from generator.errors import RecipeError

# The oldest release whose ONNX Runtime (1.19.2) was seen to load what the exporter writes.
_OLDEST_TRITON = "24.10"
_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SOURCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

_NOT_IN_PYTORCH = (Datatype.BYTES, Datatype.UINT16, Datatype.UINT32, Datatype.UINT64)

T = TypeVar("T")
Target = Literal["cpu", "gpu", "auto"]


def _version(value: object) -> int:
    try:
        return parse_version(str(value))
    except InvalidVersion as error:
        raise ValueError(str(error)) from None


def _tensor_name(name: str) -> str:
    if not _TENSOR_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no tensor name: letters, digits, '_', '.' and '-' only")
    return name


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    # Not `min_length`, which also complains when the only item has a fault of its own.
    if not items:
        raise ValueError("needs at least one entry")
    return items


Version = Annotated[int, BeforeValidator(_version)]
TensorName = Annotated[str, BeforeValidator(_tensor_name)]


class Dim(Strict):
    """Range of a dynamic dimension; `opt` is the size to expect most."""

    min: PositiveInt
    opt: PositiveInt
    max: PositiveInt

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.min <= self.opt <= self.max or self.min == self.max:
            raise ValueError(
                f"min {self.min}, opt {self.opt}, max {self.max}: wanted min <= opt <= max and "
                "min < max; write a fixed size as a number into the shape"
            )
        return self


class Input(Strict):
    """One input. `shape` is without the batch dimension; names in it are dynamic dimensions.

    Values for verification and warm-up: floats are standard normal; integers come from
    `range` = [low, high); `fill: mask` gives ones up to a drawn length, then zeros, along the
    last dimension (all ones in warm-up).
    """

    name: TensorName
    dtype: Datatype
    shape: Annotated[tuple[PositiveInt | str, ...], AfterValidator(_not_empty)]
    range: tuple[int, int] | None = None
    fill: Literal["mask"] | None = None

    @model_validator(mode="after")
    def _says_where_values_come_from(self) -> Self:
        if self.dtype in _NOT_IN_PYTORCH:
            raise ValueError(f"input {self.name}: PyTorch does not compute with {self.dtype}")
        drawn = self.dtype.is_float or self.dtype is Datatype.BOOL
        if self.range and (drawn or self.fill or self.range[0] >= self.range[1]):
            raise ValueError(
                f"input {self.name}: range {list(self.range)} must be [low, high) with low < high, "
                "on an integer input without fill"
            )
        if not drawn and not self.range and not self.fill:
            raise ValueError(
                f"input {self.name} is {self.dtype}: give range: [low, high), because ids drawn "
                "at random would point outside of the model's tables"
            )
        return self

    @property
    def dynamic_dims(self) -> list[str]:
        return [size for size in self.shape if isinstance(size, str)]


class Batching(Strict):
    """Triton's dynamic batcher."""

    preferred: tuple[PositiveInt, ...] = ()
    max_queue_delay_us: NonNegativeInt = 0


class ModelRecipe(Strict):
    """One version of one model.

    `source` is `module:callable`; the module lies in the recipe's folder, the callable takes
    `args` and returns a `torch.nn.Module` in eval state. `weights` is a state dict, relative
    to the recipe. `version` None: the next free number whenever something changed.
    `max_batch_size` 0: no batch dimension. `tolerance` replaces the calibrated limits of the
    scaled error. `tier` and what follows it are the fields of `contract.intent.Intent`; with
    none of them the store's intent stays as it is.
    """

    name: str
    version: Version | None = None
    source: str
    args: dict[str, JsonValue] = Field(default_factory=dict)
    weights: str | None = None
    inputs: Annotated[tuple[Input, ...], AfterValidator(_not_empty)]
    dims: dict[str, Dim] = Field(default_factory=dict)
    outputs: Annotated[tuple[TensorName, ...], AfterValidator(_not_empty)]
    max_batch_size: NonNegativeInt
    batching: Batching | None = None
    instances: PositiveInt = 1
    seed: NonNegativeInt = 0
    tolerance: PositiveFloat | None = None
    tier: Tier | None = None
    pin: bool | None = None
    priority: int | None = None
    idle_timeout_s: Seconds | None = None
    acceptable_cold_start_s: Seconds | None = None

    @property
    def intent(self) -> Intent | None:
        said = self.model_dump(include=set(Intent.model_fields), exclude_none=True)
        return Intent.model_validate(said) if said else None

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not is_model_name(name):
            raise ValueError(f"{name!r} is no model name: letters, digits, '_', '.' and '-' only")
        return name

    @field_validator("source")
    @classmethod
    def _names_a_callable(cls, source: str) -> str:
        if not _SOURCE.fullmatch(source):
            raise ValueError(f"{source!r} is not of the form module:callable")
        return source

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        used = [name for spec in self.inputs for name in spec.dynamic_dims]
        for name in used:
            if name not in self.dims:
                raise ValueError(
                    f"dimension {name!r} has no entry in dims; add {name}: {{min, opt, max}}"
                )
        for name in self.dims:
            if name not in used or name == "batch":
                raise ValueError(f"dims.{name} is in no input's shape ('batch' is never written)")
        names = [spec.name for spec in self.inputs] + list(self.outputs)
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"tensor name {name!r} is used {names.count(name)} times")
        return self


class Recipe(Strict):
    """`triton` is the release that will serve the repository, such as "24.10"."""

    triton: str
    target: Target
    models: Annotated[tuple[ModelRecipe, ...], AfterValidator(_not_empty)]

    @field_validator("triton", mode="before")
    @classmethod
    def _is_a_release(cls, triton: object) -> object:
        if not isinstance(triton, str) or not re.fullmatch(r"\d\d\.\d\d", triton):
            raise ValueError(f'{triton!r} is no release; write it in quotes, like "24.10"')
        if triton < _OLDEST_TRITON:
            raise ValueError(
                f"release {triton} is older than {_OLDEST_TRITON}, the oldest supported"
            )
        return triton

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


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: unreadable, or something in it is impossible; names file, model and key.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Recipe.model_validate(data)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {error}") from error
    except ValidationError as error:
        problems = [_describe(problem["loc"], problem["msg"], data) for problem in error.errors()]
        raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems)) from error


def _describe(location: tuple[int | str, ...], message: str, data: Any) -> str:
    message = message.removeprefix("Value error, ")
    if location[:1] == ("models",) and len(location) > 1:
        entry = data["models"][location[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        who = f"model {name}" if name else f"models[{location[1]}]"
        location = location[2:]
    else:
        who = "recipe"
    key = ".".join(map(str, location))
    return f"{who}: {key}: {message}" if key else f"{who}: {message}"
