"""Requests of clients, told apart from warm-up and from our own queries."""

from collections.abc import Collection, Mapping

Counts = Mapping[str, Mapping[int, int]]
Version = tuple[str, int]


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


class Arrivals:
    """What two witnesses say of the same requests: Triton, and the gateway before it.

    Triton does not see what it was never asked, such as a request that was refused while its
    model was loaded. The gateway does not see what went past it, and each stream only once.
    Who has counted more since the beginning is believed.
    """

    def __init__(self) -> None:
        self._by_server: dict[str, int] = {}
        self._by_gateway: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._seen: Mapping[str, int] | None = None

    def take(
        self, by_server: Mapping[str, int], totals: Mapping[str, int] | None
    ) -> dict[str, int]:
        """New requests per model.

        `by_server` are new ones, `totals` those since the gateway's start; None when it does not
        answer. What it had counted before the first time, and models that are in neither, do not
        matter.
        """
        new = _grown(self._seen, totals) if totals is not None else {}
        self._seen = totals if totals is not None else self._seen
        for counts, counted in ((by_server, self._by_server), (new, self._by_gateway)):
            for model, count in counts.items():
                counted[model] = counted.get(model, 0) + count
        found = {}
        for model in by_server.keys() | new.keys():
            most = max(self._by_server.get(model, 0), self._by_gateway.get(model, 0))
            if most > self._told.get(model, 0):
                found[model] = most - self._told.get(model, 0)
                self._told[model] = most
        return found


def _grown(before: Mapping[str, int] | None, now: Mapping[str, int]) -> dict[str, int]:
    """A counter that has become smaller began anew."""
    if before is None:
        return {}
    grown = {model: total - before.get(model, 0) for model, total in now.items()}
    return {model: now[model] if by < 0 else by for model, by in grown.items() if by}


def _keys(counts: Counts) -> set[Version]:
    return {(model, version) for model, versions in counts.items() for version in versions}
