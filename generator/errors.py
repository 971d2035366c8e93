"""Errors of the generator.

GeneratorError
├── RecipeError     models.yaml says something impossible; nothing was built
├── VersionTaken    the wanted version exists and was built from something else
├── StageRefused    a stage of the build says no: not exportable, outputs differ, ...
├── WorkerCrashed   a stage's process died or raised what nobody expected
├── ConfigRefused   Triton would refuse the config
└── PublishFailed   the store could not be written; it is as it was

All but RecipeError concern one model and leave the others alone.
"""


class GeneratorError(Exception):
    """Root of this package's errors."""


class RecipeError(GeneratorError):
    pass


class VersionTaken(GeneratorError):
    pass


class StageRefused(GeneratorError):
    pass


class WorkerCrashed(GeneratorError):
    pass


class ConfigRefused(GeneratorError):
    pass


class PublishFailed(GeneratorError):
    pass
