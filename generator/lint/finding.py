"""What a rule is, and what it finds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from generator.lint.repository import Place, Repository


class Severity(StrEnum):
    """`ERROR`: Triton refuses it, dies of it, or answers wrongly; `WARNING`: it does less."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Rename:
    """Give the folder another name; `path` is relative to the repository."""

    path: str
    to: str


@dataclass(frozen=True, slots=True)
class Append:
    """Write more at the end of the file."""

    path: str
    text: str


Repair = Rename | Append


@dataclass(frozen=True, slots=True)
class Problem:
    """`repair` makes Triton serve no less than before and loses nothing."""

    place: Place
    what: str
    repair: Repair | None = None


Check = Callable[[Repository], Iterable[Problem]]


@dataclass(frozen=True, slots=True)
class Rule:
    """`code` is for programs and stays; `why` is what Triton does, in a sentence."""

    code: str
    severity: Severity
    why: str
    remedy: str
    check: Check

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", "-")

    def findings(self, repository: Repository) -> "Iterator[Finding]":
        for problem in self.check(repository):
            yield Finding(self, problem)


def rule(code: str, severity: Severity, *, why: str, remedy: str) -> Callable[[Check], Rule]:
    """Turn a function that looks for one kind of problem into a rule of its name."""
    return lambda check: Rule(code, severity, why, remedy, check)


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, and the rule that found it."""

    rule: Rule
    problem: Problem

    @property
    def place(self) -> Place:
        return self.problem.place

    def body(self) -> dict[str, object]:
        """For programs."""
        return {
            "code": self.rule.code,
            "name": self.rule.name,
            "severity": self.rule.severity,
            "path": self.place.path,
            "line": self.place.line,
            "what": self.problem.what,
            "why": self.rule.why,
            "remedy": self.rule.remedy,
            "fixable": self.problem.repair is not None,
        }
