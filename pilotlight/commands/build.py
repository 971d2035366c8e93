"""`pilotlight build`: a recipe into a model repository."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from contract.layout import Store
from pilotlight.commands.building import named, next_steps, shown, told
from pilotlight.commands.init import RECIPE
from pilotlight.commands.output import CommandFailed, ExitCode, Output
from pilotlight.commands.running import command
from pilotlight.paths import EMBEDDED, MODEL_REPOSITORY, ONNXRUNTIMES
from pilotlight.views.words import counted
from pilotlight.watch import look, wait_for_change

if TYPE_CHECKING:
    from generator.events import BuildReport
    from generator.reproducible import Differs
    from generator.site import DryRun


@command(
    "pilotlight build models.yaml",
    "pilotlight build models.yaml --store /srv/models --triton 24.10",
    "pilotlight build models.yaml --watch",
    "pilotlight build models.yaml --json | jq -r 'select(.stage == \"failed\").model'",
    extra="generator",
)
def build_command(
    out: Output,
    *,
    recipe: Annotated[Path, typer.Argument(help="What to build.")] = Path(RECIPE),
    store: Annotated[
        Path, typer.Option(help="Where to publish.", file_okay=False)
    ] = MODEL_REPOSITORY,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Models exported at once.", min=1, show_default="as cores and memory allow"
        ),
    ] = None,
    triton: Annotated[
        str | None,
        typer.Option(
            metavar="YY.MM", help="The release to build for, where the recipe names none."
        ),
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Load each model in the release's ONNX Runtime too.")
    ] = False,
    dry_run_server: Annotated[
        bool,
        typer.Option("--dry-run-server", help="Have an embedded Triton serve each model first."),
    ] = False,
    verify_reproducible: Annotated[
        bool,
        typer.Option(
            "--verify-reproducible", help="Build all a second time elsewhere, and compare."
        ),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another builder in the same store.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Build again whenever a file changes, until ctrl-C.")
    ] = False,
) -> None:
    """Export, verify, measure and publish the models that changed.

    A model goes through stages. `export`: it becomes an ONNX file. `verify`: the file answers as
    PyTorch does. `convert`: TensorRT makes a plan of it. `wait`: for its turn, because what follows
    is measured alone. `probe`: its load, its latency and its memory are measured. `dry run`: a real
    Triton serves it. `publish`: it goes into the store.
    """
    from generator.build import build  # noqa: PLC0415  (an extra)
    from generator.errors import GeneratorError, StoreBusy  # noqa: PLC0415  (an extra)

    if not recipe.exists():
        raise CommandFailed(
            f"there is no recipe {recipe}",
            remedy="name yours, or let `pilotlight init WHAT` write one from what you have",
        )

    def attempt() -> bool:
        try:
            entries = _entries(recipe, triton)
            packages = _onnxruntime_of(recipe, triton, out) if prove else None
            with _dry_run(recipe, triton, out) if dry_run_server else nullcontext() as dry_run:
                how = partial(
                    build,
                    recipe,
                    store,
                    jobs=jobs,
                    triton=triton,
                    packages=packages,
                    dry_run=dry_run,
                )
                try:
                    report = told(out, lambda tell: how(report=tell), entries=entries)
                except StoreBusy as busy:
                    if not wait:
                        raise
                    out.say(escape(str(busy)))
                    waiting = partial(how, wait=True)
                    report = told(out, lambda tell: waiting(report=tell), entries=entries)
            differing = _rebuilt(out, recipe, store, report, triton) if verify_reproducible else ()
        except GeneratorError as error:
            raise CommandFailed(str(error)) from error
        _tell(out, store, report, differing)
        return not report.failed and not differing

    if watch:
        _watch(out, recipe, store, triton, attempt)
    elif not attempt():
        raise typer.Exit(ExitCode.FAILED)


def _tell(out: Output, store: Path, report: "BuildReport", differing: "Sequence[Differs]") -> None:
    for warning in report.warnings:
        out.say(f"[yellow]{escape(warning)}[/]")
    for built in report.built:
        for note in built.notes:
            out.say(f"[yellow]{named(built)}:[/] {escape(note)}")
    for failure in report.failed:
        out.say(f"[red]{named(failure)} failed:[/] {escape(failure.reason)}")
    for differs in differing:
        out.say(f"[red]{named(differs)} is not reproducible:[/] {escape(differs.reason)}")
    out.tell(
        asdict(report) | {"differing": [asdict(differs) for differs in differing]},
        f"{escape(str(store))}: {len(report.built)} built, {len(report.unchanged)} unchanged, "
        f"{len(report.failed)} failed",
    )
    for words in next_steps(report.built, Store(store)):
        out.say(escape(words))


def _entries(recipe: Path, triton: str | None) -> int:
    """How many models and ensembles it has.

    Raises:
        RecipeError: it is impossible.
    """
    from generator.recipe import load_recipe  # noqa: PLC0415  (an extra)

    loaded = load_recipe(recipe, triton=triton)
    return len(loaded.models) + len(loaded.ensembles)


def _rebuilt(
    out: Output, recipe: Path, store: Path, report: "BuildReport", triton: str | None
) -> "tuple[Differs, ...]":
    from generator.recipe import load_recipe  # noqa: PLC0415  (an extra)
    from generator.reproducible import verify_reproducible  # noqa: PLC0415  (an extra)

    current = {(one.model, one.version) for one in report.built}
    current |= {(one.model, one.version) for one in report.unchanged}
    # No ensemble is built again.
    models = {model.name for model in load_recipe(recipe, triton=triton).models}
    return told(
        out,
        lambda tell: verify_reproducible(recipe, store, current, report=tell, triton=triton),
        entries=sum(model in models for model, _ in current),
    )


def _watch(
    out: Output, recipe: Path, store: Path, triton: str | None, attempt: Callable[[], bool]
) -> None:
    from generator.watched import watched_files  # noqa: PLC0415  (an extra)

    try:
        while True:
            before = look(watched_files(recipe, store, triton=triton))
            try:
                attempt()
            except CommandFailed as error:
                out.say(f"[red]error:[/] {escape(str(error))}")
            # What the build has found out to depend on is watched from now on.
            seen = {**look(watched_files(recipe, store, triton=triton)), **before}
            out.say(f"watching {counted(len(seen), 'file')}; ctrl-C ends")
            changed = [str(path) for path in wait_for_change(seen)]
            out.tell({"changed": changed}, f"changed: {escape(', '.join(changed))}")
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _onnxruntime_of(recipe: Path, triton: str | None, out: Output) -> Path:
    """The packages to prove models with; installed at the first time.

    Raises:
        GeneratorError: the recipe is impossible.
    """
    from embedded.errors import EmbeddedError  # noqa: PLC0415  (an extra)
    from generator.recipe import load_recipe  # noqa: PLC0415  (an extra)
    from pilotlight.runtimes import provide_onnxruntime  # noqa: PLC0415  (an extra)

    version = load_recipe(recipe, triton=triton).release.onnxruntime
    try:
        return provide_onnxruntime(version, ONNXRUNTIMES / version, out.say)
    except EmbeddedError as error:
        raise CommandFailed(str(error)) from error


@contextmanager
def _dry_run(recipe: Path, triton: str | None, out: Output) -> Iterator["DryRun"]:
    """The server to try versions on; installed at the first time.

    Raises:
        GeneratorError: the recipe is impossible.
    """
    from embedded.errors import EmbeddedError  # noqa: PLC0415  (an extra)
    from embedded.provision import provision  # noqa: PLC0415  (an extra)
    from generator.recipe import load_recipe  # noqa: PLC0415  (an extra)
    from pilotlight.dry_run import DryRunServer  # noqa: PLC0415  (an extra)

    if load_recipe(recipe, triton=triton).target == "gpu":
        raise CommandFailed(
            "the server of a dry run has no GPU, and the recipe says target: gpu",
            remedy="load the store into a Triton with a GPU, then `pilotlight verify --server`",
        )
    try:
        installation = provision(EMBEDDED, out.say)
    except EmbeddedError as error:
        raise CommandFailed(str(error)) from error
    with (
        tempfile.TemporaryDirectory(prefix="pilotlight-dry-run-") as home,
        DryRunServer(installation, Path(home)) as server,
    ):
        yield server


def build_shown(recipe: Path, store: Path, *, console: Console) -> "BuildReport":
    """Build, told as `shown`.

    Raises:
        GeneratorError: as `generator.build.build`.
    """
    from generator.build import build  # noqa: PLC0415  (an extra)

    return shown(
        console,
        lambda report: build(recipe, store, jobs=None, report=report),
        entries=_entries(recipe, None),
    )
