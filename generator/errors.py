"""Errors of the generator.

GeneratorError
├── RecipeError     models.yaml says something impossible; nothing was built
├── StoreBusy       another builder is at work in the store; nothing was built
├── VersionTaken    the wanted version exists and was built from something else
├── StageRefused    a stage of the build says no: not exportable, outputs differ, ...
├── WorkerCrashed   a stage's process died or raised what nobody expected
│   ├── WorkerDied      by a signal: native code crashed
│   └── OutOfMemory     there was not enough for it
├── NotProven       the release's own ONNX Runtime does not load it, or answers wrongly
├── NotServed       a real Triton does not load it, warm it up or answer with it
├── ConfigRefused   Triton would refuse the config
├── EnsembleRefused the steps of an ensemble do not fit together
├── NothingFound    there is nothing to begin a recipe from
└── PublishFailed   the store could not be written; it is as it was

All but RecipeError and StoreBusy concern one model and leave the others alone.
"""


class GeneratorError(Exception):
    """Root of this package's errors."""


class RecipeError(GeneratorError):
    pass


class StoreBusy(GeneratorError):
    pass


class VersionTaken(GeneratorError):
    pass


class StageRefused(GeneratorError):
    pass


class WorkerCrashed(GeneratorError):
    pass


class WorkerDied(WorkerCrashed):
    pass


class OutOfMemory(WorkerCrashed):
    pass


class NotProven(GeneratorError):
    pass


class NotServed(GeneratorError):
    pass


class ConfigRefused(GeneratorError):
    pass


class EnsembleRefused(GeneratorError):
    pass


class NothingFound(GeneratorError):
    pass


class PublishFailed(GeneratorError):
    pass
