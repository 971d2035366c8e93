"""Requests of clients, told apart from warm-up and from our own queries."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Counts = Mapping[str, Mapping[int, int]]
Version = tuple[str, int]
QUIET_LOOKS = 3


class Tally:
    """Triton counts everything; a reload starts again from zero.

    What a version had served when its load returned was warm-up, and what we sent since was
    ours. While a model is being changed nothing is taken: what comes meanwhile is found
    afterwards.
    """

    def __init__(self) -> None:
        self._seen: dict[Version, int] = {}
        self._ours: dict[Version, int] = {}

    def loaded(self, model: str, counts: Mapping[int, int], versions: Collection[int]) -> None:
        """These versions have just been loaded, with these counts."""
        for version in versions:
            self._seen[model, version] = counts.get(version, 0)
            self._ours.pop((model, version), None)

    def sent(self, model: str, version: int) -> None:
        """One request of ours has been answered."""
        self._ours[model, version] = self._ours.get((model, version), 0) + 1

    def take(self, counts: Counts, busy: Collection[str]) -> dict[str, int]:
        """Requests of clients per model since the last time; models without any are left out.

        A version that nobody saw before, or that counts from zero again, begins here.
        """
        found: dict[str, int] = {}
        for model, versions in counts.items():
            if model in busy:
                continue
            for version, count in versions.items():
                key = (model, version)
                before = self._seen.get(key)
                self._seen[key] = count
                if before is None or count < before:
                    self._ours.pop(key, None)
                    continue
                # Triton may count one of ours only after it has answered.
                ours = min(self._ours.get(key, 0), count - before)
                if ours:
                    self._ours[key] -= ours
                if count - before > ours:
                    found[model] = found.get(model, 0) + count - before - ours
        present = _keys(counts)
        for key in [key for key in self._seen if key[0] not in busy and key not in present]:
            del self._seen[key]
            self._ours.pop(key, None)
        return found


@dataclass(slots=True)
class _Counted:
    """Of one model, since it was last quiet."""

    by_server: int = 0
    by_gateway: int = 0
    told: int = 0
    quiet_looks: int = 0


class Arrivals:
    """What two witnesses say of the same requests: Triton, and the gateway before it.

    Triton does not see what it was never asked, such as a request that was refused while its
    model was loaded. The gateway does not see what went past it, and each stream only once.
    Who has counted more since the model was last quiet is believed; one may count a look later.
    """

    def __init__(self) -> None:
        self._counted: dict[str, _Counted] = {}
        self._seen: Mapping[str, int] | None = None

    def take(
        self,
        by_server: Mapping[str, int],
        totals: Mapping[str, int] | None,
        *,
        is_alone: bool = True,
    ) -> dict[str, int]:
        """New requests per model.

        `by_server` are new ones, `totals` those since the gateway's start; None when it does not
        answer. What it had counted before the first time does not matter, and while there are
        other replicas it does not tell whom it sent them to.
        """
        new = _grown(self._seen, totals) if totals is not None and is_alone else {}
        self._seen = totals if totals is not None else self._seen
        found = {}
        for model in by_server.keys() | new.keys():
            counted = self._counted.setdefault(model, _Counted())
            counted.quiet_looks = 0
            counted.by_server += by_server.get(model, 0)
            counted.by_gateway += new.get(model, 0)
            most = max(counted.by_server, counted.by_gateway)
            if most > counted.told:
                found[model] = most - counted.told
                counted.told = most
        self._forget_quiet(by_server.keys() | new.keys())
        return found

    def _forget_quiet(self, asked: Collection[str]) -> None:
        for model in self._counted.keys() - asked:
            counted = self._counted[model]
            counted.quiet_looks += 1
            if counted.quiet_looks > QUIET_LOOKS:
                del self._counted[model]


def _grown(before: Mapping[str, int] | None, now: Mapping[str, int]) -> dict[str, int]:
    """A counter that has become smaller began anew."""
    if before is None:
        return {}
    grown = {model: total - before.get(model, 0) for model, total in now.items()}
    return {model: now[model] if by < 0 else by for model, by in grown.items() if by}


def _keys(counts: Counts) -> set[Version]:
    return {(model, version) for model, versions in counts.items() for version in versions}
