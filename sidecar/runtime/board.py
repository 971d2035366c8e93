"""What this process knows from its own work; lost with it, and found again by looking."""

import time
from collections.abc import Mapping
from dataclasses import replace

from sidecar.core.demand import Demand
from sidecar.core.fleet import (
    CheckKind,
    Departure,
    Failure,
    Outcome,
    Server,
    StageProblem,
    Verification,
    VersionState,
)
from sidecar.core.learned import Learned
from sidecar.core.memory import Device, Reading
from sidecar.core.pressure import Pressure
from sidecar.core.traffic import Traffic
from sidecar.runtime.tally import Arrivals, Tally

Pair = tuple[Server, str]


class Board:
    """Facts of this process.

    `demand` and `learned` are copies of the record, which only the loop writes. `stage_problems`
    are those of the stages that were looked at since their server came, or since it last failed to
    load. `troubles` are what else is wrong, by what it is about.
    """

    def __init__(self) -> None:
        self.busy: set[Pair] = set()
        self.checking: set[str] = set()
        self.failures: dict[Pair, Failure] = {}
        self.outcomes: dict[tuple[str, CheckKind], Outcome] = {}
        self.tally = Tally()
        self.arrivals = Arrivals()
        self.traffic: Mapping[str, Traffic] = {}
        self.demand: dict[str, Demand] = {}
        self.learned: dict[tuple[str, int], Learned] = {}
        self.watched_since_s = 0.0
        self.readings: dict[Device, Reading] = {}
        self.departures: dict[str, Departure] = {}
        self.leaving: set[str] = set()
        self.pressure = Pressure()
        self.leaked_bytes = 0
        self.aged: dict[str, float] = {}
        self.last_victim_score = 0.0
        self.cached: set[str] = set()
        self.prewarmed_at_s = 0.0
        self.unloaded_at_s = 0.0
        self.troubles: dict[str, str] = {}
        self.stage_problems: dict[Server, StageProblem | None] = {}
        self.found_at_s: dict[Server, float] = {}
        self._verified: dict[Pair, Verification] = {}

    def trouble(self, about: str, problem: str | None) -> None:
        """What is wrong with something, or that nothing is."""
        if problem is None:
            self.troubles.pop(about, None)
        else:
            self.troubles[about] = problem

    def verified(self, server: Server) -> Mapping[str, Verification]:
        return {model: found for (at, model), found in self._verified.items() if at is server}

    def verify(self, pair: Pair, verification: Verification) -> None:
        """The pair holds what it should.

        On the canary this does not clear earlier failures: a version may load and kill the
        server at its first query, again and again.
        """
        self._verified[pair] = verification
        if pair[0] is Server.SERVING:
            self.failures.pop(pair, None)
        else:
            self.recover(pair)

    def forget(self, pair: Pair) -> None:
        self._verified.pop(pair, None)
        self.failures.pop(pair, None)

    def recover(self, pair: Pair) -> None:
        """What stood in the way, and was not the version's fault, does so no longer."""
        failure = self.failures.get(pair)
        if failure is not None and failure.blameless:
            del self.failures[pair]

    def fail(
        self, pair: Pair, *, reason: str, lost: bool, config: str, blameless: bool = False
    ) -> Failure:
        before = self.failures.get(pair)
        now = (config, lost, blameless)
        again = before is not None and (before.config, before.lost, before.blameless) == now
        failure = Failure(
            reason=reason,
            lost=lost,
            attempts=before.attempts + 1 if before and again else 1,
            at_s=time.time(),
            config=config,
            blameless=blameless,
        )
        self.failures[pair] = failure
        self.stage_problems.pop(pair[0], None)
        return failure

    def keep_outcomes(self, releases: set[str]) -> None:
        """Checks of other releases are of no use any more."""
        for key in [key for key in self.outcomes if key[0] not in releases]:
            del self.outcomes[key]

    def saw_index(
        self,
        server: Server,
        index: Mapping[str, Mapping[int, VersionState]],
        busy: frozenset[Pair],
    ) -> None:
        """Verified versions that are not READY any more must be verified again.

        What was `busy` when the index was asked for may have become ready since.
        """
        self.found_at_s.setdefault(server, time.time())
        for pair, found in list(self._verified.items()):
            if pair[0] is not server or pair in busy:
                continue
            states = index.get(pair[1], {})
            still = {v for v in found.versions if states.get(v) is VersionState.READY}
            if not still:
                del self._verified[pair]
            elif still != found.versions:
                self._verified[pair] = replace(found, versions=frozenset(still))

    def lost(self, server: Server) -> None:
        """Nothing that was verified on a server outlives the loss of that server, and no leak."""
        if server is Server.SERVING:
            self.leaked_bytes = 0
        self.stage_problems.pop(server, None)
        self.found_at_s.pop(server, None)
        for pair in [pair for pair in self._verified if pair[0] is server]:
            del self._verified[pair]
