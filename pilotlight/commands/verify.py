"""`pilotlight verify`: does a live server answer as the build said it would?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from contract.layout import Store
from contract.strict import nearest
from pilotlight.commands.output import CommandFailed, ExitCode, Output
from pilotlight.commands.progress import busy
from pilotlight.commands.running import command
from pilotlight.paths import MODEL_REPOSITORY

if TYPE_CHECKING:
    from pilotlight.verifying import ModelFinding

STYLES = {"passed": "green", "differs": "red", "failed": "red"}


@command(
    "pilotlight verify --server localhost:8001",
    "pilotlight verify ranker --server localhost:8001 --version 2",
    "pilotlight verify --server localhost:8001 --json | jq '.models[].verdict'",
    extra="sidecar",
)
def verify_command(
    out: Output,
    *,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where Triton answers gRPC.")],
    models: Annotated[
        list[str] | None, typer.Argument(help="Which.", show_default="all of the store")
    ] = None,
    store: Annotated[
        Path, typer.Option(help="Where the golden samples are.", file_okay=False)
    ] = MODEL_REPOSITORY,
    version: Annotated[
        int | None, typer.Option(help="Of each model.", min=1, show_default="the newest")
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for one answer.", min=0)] = 30,
) -> None:
    """Ask a live server the golden samples over gRPC, and compare its answers as the build did.

    Exit code: 1 where an answer differs or fails, or where a model that was named cannot be asked.
    """
    from pilotlight.verifying import LiveServer, NoAnswer, verify  # noqa: PLC0415  (an extra)

    asked = _asked(Store(store), models or [], version)
    found = []
    try:
        with busy(out.console, "verifying") as saying:
            live = LiveServer(server, timeout_s=timeout_s)
            for model, number in asked:
                saying(f"verifying {model} {number}")
                found.append(verify(Store(store), model, number, live))
    except NoAnswer as error:
        raise CommandFailed(
            str(error),
            code="unreachable",
            remedy="name its gRPC port, usually 8001; a slow model may need --timeout-s",
            exit_code=ExitCode.UNREACHABLE,
        ) from error
    body = {"server": server, "store": str(store), "models": [each.body() for each in found]}
    out.show(body, Group(_table(found), *_remarks(found)))
    if not _is_well(found, named=bool(models)):
        raise typer.Exit(ExitCode.FAILED)


def _asked(store: Store, models: Sequence[str], version: int | None) -> list[tuple[str, int]]:
    known = list(store.models())
    if not known:
        raise CommandFailed(f"{store.root} holds no model; name another store with --store")
    wanted = []
    for model in models or known:
        versions = store.versions(model)
        if not versions:
            raise CommandFailed(f"{store.root} has no model {model}; {nearest(model, known)}")
        if version is None or version in versions:
            wanted.append((model, version or versions[-1]))
        elif models:
            numbers = ", ".join(map(str, versions))
            raise CommandFailed(f"{model} has no version {version} in {store.root}; has {numbers}")
    return wanted


def _is_well(found: Sequence["ModelFinding"], *, named: bool) -> bool:
    """A server need not have every model of a store, but must not be without any of them."""
    asked = [each for each in found if each.verdict.was_asked]
    complete = len(asked) == len(found) if named else bool(asked)
    return complete and all(each.verdict == "passed" for each in asked)


def _table(found: Sequence["ModelFinding"]) -> Table:
    table = Table("model", "version", "", "samples", "output", "worst error", "limit", box=None)
    for each in found:
        verdict = f"[{STYLES.get(each.verdict, 'yellow')}]{each.verdict}[/]"
        head = (escape(each.model), str(each.version), verdict)
        if not each.outputs:
            table.add_row(*head)
        for output in each.outputs:
            said = output.evidence
            errors = (f"{said.scaled_error:.1e}", f"{said.limit:.1e}")
            table.add_row(*head, str(each.samples), escape(output.output), *errors)
    return table


def _remarks(found: Sequence["ModelFinding"]) -> Iterator[str]:
    for each in found:
        for words in (each.note, *(output.reason for output in each.outputs)):
            if words:
                yield f"{escape(each.model)} {each.version}: {escape(words)}"
