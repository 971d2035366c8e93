"""Repairs, done on disk. Nothing is deleted, and a file is overwritten only by itself and more."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from generator.lint.finding import Append, Finding, Rename, Repair


def fix(root: Path, findings: Iterable[Finding]) -> list[str]:
    """Do what can be repaired safely; says what was done.

    Raises:
        OSError: the repository cannot be written.
    """
    done = []
    for finding in findings:
        repair = finding.problem.repair
        if repair is not None and (said := _do(root, repair)):
            done.append(said)
    return done


def _do(root: Path, repair: Repair) -> str | None:
    path = root / repair.path
    match repair:
        case Rename(to=to):
            if os.path.lexists(path.with_name(to)):
                return None
            path.rename(path.with_name(to))
            return f"{repair.path} is now called {to}"
        case Append(text=text):
            _append(path.resolve(), text)
            return f"{repair.path} has {text.strip().count(chr(10)) + 1} more lines"
        case _:
            assert_never(repair)


def _append(path: Path, text: str) -> None:
    """In one step: a Triton that reads it meanwhile sees the old text or the new one."""
    staged = path.with_name(f".{path.name}.tmp")
    staged.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    staged.chmod(path.stat().st_mode)
    staged.replace(path)
