"""One version of one model."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from contract.dtypes import Datatype
from contract.errors import InvalidVersion
from contract.intent import Intent, Seconds, Tier
from contract.layout import is_model_name, parse_version
from contract.strict import Strict
from generator.recipe.formats import AS_WRITTEN, Format, TensorRT
from generator.recipe.serving import Batching, Instances, Passthrough, Sequence, Variants
from generator.recipe.source import Callable, FilePath, source_of
from generator.recipe.tensors import Dim, Input, NamedOutput, not_empty

_NOT_IN_PYTORCH = (Datatype.BYTES, Datatype.UINT16, Datatype.UINT32, Datatype.UINT64)


def _version(value: object) -> int:
    try:
        return parse_version(str(value))
    except InvalidVersion as error:
        raise ValueError(str(error)) from None


def _model_name(name: str) -> str:
    if not is_model_name(name):
        raise ValueError(f"{name!r} is no model name: letters, digits, '_', '.' and '-' only")
    return name


def _file_of(form: Format) -> object:
    """Equal for formats that are served from the same file."""
    return form if isinstance(form, TensorRT) else form.is_half


Version = Annotated[int, BeforeValidator(_version, json_schema_input_type=PositiveInt)]
ModelName = Annotated[str, AfterValidator(_model_name)]


class ModelRecipe(Strict):
    """One version of one model.

    It is made from exactly one of `source`, `program`, `onnx` and `huggingface`. Paths are
    relative to the recipe, or absolute. `tier` and what follows it are the fields of
    `contract.intent.Intent`; with none of them the store's intent stays as it is.
    """

    name: ModelName
    """Letters, digits, `_`, `.` and `-`; clients ask for it by this name."""
    version: Version | None = None
    """Without it, the next free number whenever something changed."""
    source: Callable | None = None
    """`module:callable`; the module lies in the recipe's folder, the callable takes `args` and
    returns a `torch.nn.Module` in eval state."""
    program: FilePath | None = None
    """File that `torch.export.save` wrote (`.pt2`)."""
    onnx: FilePath | None = None
    """ONNX file, adopted as it is; its external data lie beside it."""
    huggingface: FilePath | None = None
    """Folder with `config.json` and safetensors, loaded by `transformers`."""
    args: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the callable. For `huggingface` only `class`, the name of a class of
    `transformers`; without it, the one that `config.json` names."""
    weights: FilePath | None = None
    """State dict for the callable's module: `.safetensors`, or what `torch.save` wrote."""
    depends: tuple[FilePath, ...] = ()
    """Files and folders that the module's code opens itself: a change of theirs is one of the
    model. Python files that it imports and files that other keys name count without being told."""
    golden: FilePath | None = None
    """`.npz` with `input/<name>` and `output/<name>`, to verify an ONNX model against."""
    samples: FilePath | None = None
    """`.npz` with real inputs by name, the first axis counting samples: they verify and warm the
    model in place of drawn values."""
    inputs: Annotated[tuple[Input, ...], AfterValidator(not_empty)]
    """In the order in which `forward` takes them; for `huggingface` and `onnx` by name."""
    dims: dict[str, Dim] = Field(default_factory=dict)
    """Ranges of the dynamic dimensions, by the names that shapes give them."""
    outputs: Annotated[tuple[NamedOutput, ...], AfterValidator(not_empty)]
    """In the order in which `forward` returns them; of a dict, named tuple or dataclass, its names
    in any order. Each is a name, or a mapping for labels and `top_k`."""
    max_batch_size: NonNegativeInt
    """Rows that are computed at once, at most; 0: no batch dimension."""
    format: Format = AS_WRITTEN
    """What is published and served: `onnx`, `onnx-fp16`, `onnx-tensorrt` or `tensorrt`; with
    options, a mapping with that `kind`."""
    batching: Batching | None = None
    """Without it, requests are not put together."""
    sequence: Sequence | None = None
    """For a model that keeps something between requests; not together with `batching`."""
    instances: Instances = 1
    """Copies that compute at the same time, each with memory of its own: their number, or a list
    of groups for other kinds than `target`, for chosen GPUs, or for the rate limiter."""
    response_cache: bool = False
    """The answer to a request that came before is taken from Triton's cache, which has to be
    switched on with `--cache-config`."""
    version_policy: PositiveInt | Literal["all"] | None = None
    """How many of the newest versions a Triton without sidecar serves, 1 when left out; a sidecar
    chooses versions itself."""
    config: Passthrough = Field(default_factory=dict)
    """Whatever else Triton's ModelConfig has, by its names there."""
    variants: Variants = Field(default_factory=dict)
    """Further configs by name, for `tritonserver --model-config-name`."""
    seed: NonNegativeInt = 0
    """Of PyTorch's random numbers while the callable runs."""
    warmup_budget_s: PositiveFloat = 10.0
    """How long the warm-up of one instance may take, as measured on a CPU. What is beyond it is
    left out, but for the largest and the smallest shape; on a GPU it is not known and not cut."""
    tolerance: PositiveFloat | None = None
    """Replaces the calibrated limits of the scaled error."""
    keep: PositiveInt | None = None
    """Versions that `pilotlight prune` leaves, if not as many as the recipe says for all."""
    tier: Tier | None = None
    """How warm the model is to be kept."""
    pin: bool | None = None
    """Once loaded it is neither evicted nor unloaded when idle."""
    priority: int | None = None
    """It is never evicted for a model of a lower priority."""
    idle_timeout_s: Seconds | None = None
    """Unloaded after so long without a request; without it, cost and price decide."""
    acceptable_cold_start_s: Seconds | None = None
    """Waiting up to here costs nothing."""

    @property
    def intent(self) -> Intent | None:
        said = self.model_dump(include=set(Intent.model_fields), exclude_none=True)
        return Intent.model_validate(said) if said else None

    @property
    def origin(self) -> tuple[str, str]:
        """Which of the four sources, and what it says."""
        kind = source_of(dict(self))
        return kind, getattr(self, kind)

    @property
    def output_names(self) -> list[str]:
        return [output.name for output in self.outputs]

    @property
    def top_k(self) -> dict[str, int]:
        """By output; only of classifiers."""
        return {output.name: output.top_k for output in self.outputs if output.top_k}

    @model_validator(mode="after")
    def _comes_from_one_source(self) -> Self:
        source, _ = self.origin
        if source == "huggingface" and self.args.keys() - {"class"}:
            raise ValueError(
                f"args of a huggingface model: only class, not {', '.join(self.args)}; what else "
                "the model takes stands in its config.json"
            )
        for spec in self.inputs:
            if source != "onnx" and spec.dtype in _NOT_IN_PYTORCH:
                raise ValueError(f"input {spec.name}: PyTorch does not compute with {spec.dtype}")
        if source == "onnx" and self.format.is_half:
            raise ValueError(
                f"format {self.format.kind} is computed by PyTorch, and an ONNX file is adopted as "
                "it is; convert the file, or name its source"
            )
        return self

    @model_validator(mode="after")
    def _says_where_values_come_from(self) -> Self:
        if self.samples:
            return self
        for spec in self.inputs:
            if spec.lacks_values and spec.dtype is Datatype.BYTES:
                raise ValueError(
                    f"input {spec.name} is BYTES: give values, some texts that the model "
                    "understands, or samples"
                )
            if spec.lacks_values and not self.onnx:
                raise ValueError(
                    f"input {spec.name} is {spec.dtype}: give range: [low, high), because ids "
                    "drawn at random would point outside of the model's tables"
                )
        return self

    @model_validator(mode="after")
    def _optional_inputs_can_be_left_out(self) -> Self:
        optional = [spec for spec in self.inputs if spec.optional]
        for spec in optional:
            if self.max_batch_size:
                raise ValueError(
                    f"input {spec.name} is optional and max_batch_size is {self.max_batch_size}: "
                    "Triton's ONNX Runtime backend takes optional inputs without a batch dimension "
                    "only; write max_batch_size: 0, or make two models, one without the input"
                )
            if (spec.default is None) != (self.onnx is not None):
                raise ValueError(
                    f"input {spec.name}: an ONNX file brings its own default; take default out"
                    if self.onnx
                    else f"input {spec.name} is optional: write default, what it is filled with"
                )
        if len(optional) == len(self.inputs):
            raise ValueError("every input is optional; one must be there for its size")
        return self

    @model_validator(mode="after")
    def _sequences_have_what_they_need(self) -> Self:
        if self.sequence and self.batching:
            raise ValueError(
                "sequence and batching exclude each other: the sequence batcher makes the batches"
            )
        for spec in self.inputs:
            if spec.control and not self.sequence:
                raise ValueError(
                    f"input {spec.name} has control: {spec.control}; write `sequence: {{}}`, "
                    "because only the sequence batcher fills it"
                )
        states = self.sequence.states if self.sequence else {}
        for given, taken in states.items():
            if given not in [spec.name for spec in self.inputs] or taken not in self.output_names:
                raise ValueError(
                    f"sequence.states {given}: {taken} is no input with an output of the model"
                )
        return self

    @model_validator(mode="after")
    def _variants_are_of_the_same_file(self) -> Self:
        for name, variant in self.variants.items():
            if variant.format and _file_of(variant.format) != _file_of(self.format):
                raise ValueError(
                    f"variants.{name}.format: {variant.format.kind} needs another file than "
                    f"{self.format.kind}; make it a model of its own"
                )
        return self

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
        names = [spec.name for spec in self.inputs] + self.output_names
        # In any spelling: warm-up and label files are named after tensors.
        folded = [name.casefold() for name in names]
        for name in names:
            if folded.count(name.casefold()) > 1:
                raise ValueError(
                    f"tensor name {name!r} is used {folded.count(name.casefold())} times, "
                    "upper and lower case being the same; give each a name of its own"
                )
        return self
