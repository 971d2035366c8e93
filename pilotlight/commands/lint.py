"""`pilotlight lint`: what Triton would refuse, or take and die of."""

import json
from collections import Counter
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from contract.layout import CONFIG
from pilotlight.commands.output import CommandFailed, ExitCode, Output
from pilotlight.commands.running import command
from pilotlight.views.words import counted

if TYPE_CHECKING:
    from generator.lint.finding import Finding

STYLES = {"error": "red", "warning": "yellow"}


class Format(StrEnum):
    """Who is to read it."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


@command(
    "pilotlight lint model_repository",
    "pilotlight lint model_repository --triton 24.10 --strict",
    "pilotlight lint model_repository --format sarif > lint.sarif",
    extra="generator",
)
def lint_command(
    out: Output,
    repository: Annotated[Path, typer.Argument(help="The folder.", file_okay=False)],
    *,
    triton: Annotated[
        str | None,
        typer.Option(
            metavar="YY.MM", help="The release that serves it.", show_default="the newest known"
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--fix", help="Repair what can be repaired without losing anything.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings, too.")] = False,
    output_format: Annotated[
        Format, typer.Option("--format", help="SARIF and GitHub's workflow commands are for CI.")
    ] = Format.TEXT,
) -> None:
    """Check a model repository of Triton, whoever made it.

    It finds what Triton would refuse, die of, or leave out without a word, and says where, why and
    what to do. No server is needed.
    """
    # An extra.
    from generator.lint.check import lint  # noqa: PLC0415
    from generator.lint.finding import Severity  # noqa: PLC0415
    from generator.lint.fix import fix  # noqa: PLC0415
    from generator.lint.read import read_repository  # noqa: PLC0415
    from generator.releases import NEWEST, release  # noqa: PLC0415

    try:
        served_by = release(triton or NEWEST)
        found = read_repository(repository, served_by)
        if CONFIG in found.entries:
            raise CommandFailed(
                f"{repository} is a single model: a {CONFIG} lies in it",
                remedy="name the folder that it lies in, as tritonserver's --model-repository does",
            )
        findings = lint(found)
        done = fix(repository, findings) if repair else []
        if done:
            findings = lint(read_repository(repository, served_by))
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise CommandFailed(str(error)) from error
    _tell(out, output_format, findings, root=repository, models=len(found.models), done=done)
    failing = [each for each in findings if strict or each.rule.severity is Severity.ERROR]
    if failing:
        raise typer.Exit(ExitCode.FAILED)


def _tell(
    out: Output,
    output_format: Format,
    findings: "list[Finding]",
    *,
    root: Path,
    models: int,
    done: list[str],
) -> None:
    from generator.lint.formats import github, sarif  # noqa: PLC0415  (an extra)

    if out.as_json or output_format is Format.JSON:
        body = {"models": models, "findings": [each.body() for each in findings], "fixed": done}
        typer.echo(json.dumps(body, indent=2), file=out.stdout)
    elif output_format is Format.SARIF:
        log = sarif(findings, root, version("pilotlight"))
        typer.echo(json.dumps(log, indent=2), file=out.stdout)
    elif output_format is Format.GITHUB:
        typer.echo(github(findings, root), file=out.stdout, nl=False)
    else:
        for said in done:
            out.say(f"[green]fixed[/] {escape(said)}")
        explained: set[str] = set()
        for finding in findings:
            out.say(_shown(finding, root, explain=finding.rule.code not in explained))
            explained.add(finding.rule.code)
        out.say(_summary(findings, models))


def _shown(finding: "Finding", root: Path, *, explain: bool) -> str:
    rule, place = finding.rule, finding.place
    where = (root / place.path).as_posix() + (f":{place.line}" if place.line else "")
    style = STYLES[rule.severity]
    why = f"\n  {escape(rule.why)}" if explain else ""
    return (
        f"{escape(where)}: [{style}]{rule.severity}[/] {rule.code} {rule.name}: "
        f"{escape(finding.problem.what)}{why}\n  -> {escape(rule.remedy)}"
    )


def _summary(findings: "list[Finding]", models: int) -> str:
    found = Counter(finding.rule.severity.value for finding in findings)
    fixable = sum(finding.problem.repair is not None for finding in findings)
    parts = ", ".join(counted(found[each], each) for each in STYLES)
    hint = f"; --fix repairs {fixable}" if fixable else ""
    return f"{counted(models, 'model')}: {parts}{hint}"
