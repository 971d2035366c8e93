"""Ensembles: their tensors, and the models that they are made of."""

from collections.abc import Iterator

from generator.lint.finding import Problem, Severity, rule
from generator.lint.repository import ENSEMBLE, Repository
from generator.lint.rules.steps import all_steps, ensembles, uses

_NOT_ALLOWED = ("instance_group", "optimization")


@rule(
    "PL601",
    Severity.ERROR,
    why="An ensemble computes nothing itself: Triton refuses one with instances or optimization.",
    remedy="remove it; give it to the models that it is made of",
)
def ensemble_settings(repository: Repository) -> Iterator[Problem]:
    for config, _ in ensembles(repository):
        for field in _NOT_ALLOWED:
            if any(each.name == field for each, _ in config.message.ListFields()):
                yield Problem(config.at(field), f"the config of an ensemble has {field}")


@rule(
    "PL602",
    Severity.ERROR,
    why="Triton wants both, and in each step a model, an input_map and an output_map.",
    remedy='write platform: "ensemble" and at least one step',
)
def ensemble_without_steps(repository: Repository) -> Iterator[Problem]:
    for config, steps in ensembles(repository):
        if config.message.platform != ENSEMBLE:
            yield Problem(config.at(), f"it has steps, and platform is {config.message.platform!r}")
        if not steps:
            yield Problem(config.at("ensemble_scheduling"), "the ensemble has no step")
        for step in steps:
            for field in ("model_name", "input_map", "output_map"):
                if not getattr(step.said, field):
                    yield Problem(step.at(), f"{step} has no {field}")


@rule(
    "PL603",
    Severity.ERROR,
    why="Triton loads an ensemble only after all of its models.",
    remedy="add the model to the repository, or correct the name",
)
def step_model_unknown(repository: Repository) -> Iterator[Problem]:
    for step in all_steps(repository):
        name = step.said.model_name
        if name and name not in repository.models and not step.said.model_namespace:
            yield Problem(step.at("model_name"), f"{step}: there is no model {name}")


@rule(
    "PL604",
    Severity.ERROR,
    why="A step may ask for one version of its model, which has to be served then.",
    remedy="take the version into the model's version_policy",
)
def step_version_unknown(repository: Repository) -> Iterator[Problem]:
    for step in all_steps(repository):
        wanted, model = step.said.model_version, step.model
        if wanted > 0 and model is not None and wanted not in model.served:
            yield Problem(
                step.at("model_version"),
                f"{step} wants version {wanted}, of which {list(model.served)} are served",
            )


@rule(
    "PL605",
    Severity.ERROR,
    why="Triton compares the maps of a step with its model's config.",
    remedy="map every input that is not optional, and only what there is",
)
def step_maps_wrongly(repository: Repository) -> Iterator[Problem]:
    for step in all_steps(repository):
        for kind in ("input", "output"):
            listed = step.tensors(kind)
            mapped = getattr(step.said, f"{kind}_map")
            for name in mapped if listed else ():
                if name not in listed:
                    yield Problem(
                        step.at(f"{kind}_map", name), f"{step}: the model has no {kind} {name}"
                    )
        for name, tensor in step.tensors("input").items():
            if name not in step.said.input_map and not tensor.optional:
                yield Problem(step.at("input_map"), f"{step}: input {name} is not mapped")


@rule(
    "PL606",
    Severity.ERROR,
    why=(
        "A step runs when all that it reads is written; one that waits for what nobody writes, or "
        "for its own result, never does."
    ),
    remedy="let a step write it, or make it an input of the ensemble",
)
def tensor_never_written(repository: Repository) -> Iterator[Problem]:
    for config, steps in ensembles(repository):
        written = {tensor.name for tensor in config.message.input}
        waiting = steps
        while able := [step for step in waiting if step.reads <= written]:
            waiting = [step for step in waiting if not step.reads <= written]
            written |= {name for step in able for name in step.said.output_map.values()}
        for step in waiting:
            for name, tensor in sorted(step.said.input_map.items()):
                if tensor not in written:
                    yield Problem(
                        step.at("input_map", name), f"{step} waits for {tensor}, never written"
                    )
        ever = written | {name for step in waiting for name in step.said.output_map.values()}
        for index, output in enumerate(config.message.output):
            if output.name not in ever:
                yield Problem(
                    config.at("output", index), f"no step writes the output {output.name}"
                )


@rule(
    "PL607",
    Severity.ERROR,
    why="Triton refuses an ensemble with a tensor that is neither read by a step nor an output.",
    remedy="let a step read it, or take it out of the map",
)
def tensor_never_read(repository: Repository) -> Iterator[Problem]:
    for config, steps in ensembles(repository):
        read = {name for step in steps for name in step.reads}
        for index, tensor in enumerate(config.message.input):
            if tensor.name not in read:
                yield Problem(config.at("input", index), f"no step reads the input {tensor.name}")
        outputs = {tensor.name for tensor in config.message.output}
        for step in steps:
            for name, tensor in sorted(step.said.output_map.items()):
                if tensor not in read | outputs:
                    yield Problem(step.at("output_map", name), f"nobody reads {tensor} of {step}")


@rule(
    "PL608",
    Severity.ERROR,
    why="Triton refuses an ensemble in which two outputs have the same tensor.",
    remedy="give each result a name of its own",
)
def tensor_written_twice(repository: Repository) -> Iterator[Problem]:
    for _, steps in ensembles(repository):
        seen = set()
        for step in steps:
            for name, tensor in sorted(step.said.output_map.items()):
                if tensor in seen:
                    yield Problem(
                        step.at("output_map", name), f"{step} writes {tensor}, already written"
                    )
                seen.add(tensor)


@rule(
    "PL609",
    Severity.ERROR,
    why=(
        "What one model writes and another reads must have the same type, and sizes that agree or "
        "vary."
    ),
    remedy="put a step between them that converts",
)
def tensors_do_not_fit(repository: Repository) -> Iterator[Problem]:
    for config, steps in ensembles(repository):
        for first, *others in uses(config, steps).values():
            for use in others:
                if use.tensor.data_type != first.tensor.data_type or not use.fits(first):
                    yield Problem(use.place, f"{use} does not fit {first}")


@rule(
    "PL610",
    Severity.ERROR,
    why="Triton refuses an ensemble that takes larger batches than a model in it.",
    remedy="lower the ensemble's max_batch_size, or raise the model's",
)
def batch_above_step(repository: Repository) -> Iterator[Problem]:
    for step in all_steps(repository):
        if step.model is None:
            continue
        most, wanted = step.model.message.max_batch_size, step.config.message.max_batch_size
        # A model without batch dimension takes the batch as part of its shape.
        if 0 < most < wanted:
            yield Problem(
                step.at(),
                f"max_batch_size of the ensemble is {wanted}, of {step.said.model_name} {most}",
            )


@rule(
    "PL611",
    Severity.ERROR,
    why="Triton loads an ensemble after its models, and finds no beginning.",
    remedy="let no ensemble contain itself",
)
def ensemble_in_itself(repository: Repository) -> Iterator[Problem]:
    inside = {
        config.model.name: {step.model_name for step in config.message.ensemble_scheduling.step}
        for config, _ in ensembles(repository)
    }
    for config, _ in ensembles(repository):
        reached: set[str] = set()
        found = inside[config.model.name]
        while found - reached:
            reached |= found
            found = {name for each in reached for name in inside.get(each, ())}
        if config.model.name in reached:
            yield Problem(config.at("ensemble_scheduling"), f"{config.model.name} contains itself")
