"""What the judge says: each check with its numbers, and what follows from them together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Ruling(StrEnum):
    """Missing evidence is `inconclusive`: it never promotes."""

    PASS = "pass"  # noqa: S105  (no password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One check. `note` is a sentence for a person, `numbers` name with unit to figure."""

    check: str
    ruling: Ruling
    note: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    evidence: tuple[Evidence, ...]

    @property
    def ruling(self) -> Ruling:
        """One that fails is enough to fail, and all must pass to pass."""
        rulings = {each.ruling for each in self.evidence}
        for ruling in (Ruling.FAIL, Ruling.INCONCLUSIVE):
            if ruling in rulings:
                return ruling
        return Ruling.PASS if rulings else Ruling.INCONCLUSIVE

    @property
    def note(self) -> str:
        """What decided, in one line."""
        return "; ".join(each.note for each in self.evidence if each.ruling is self.ruling)
