"""Which loads may start now, who must go for the others, and what does not fit at all.

What is given is taken from the account at once, so the budget holds at the peak of every
prefix of a plan, however its steps end.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from contract.bytes import format_bytes
from sidecar.core.actions import Blocked, LetGo
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.ledger import Account, Hold
from sidecar.core.memory import Device
from sidecar.core.ranking import Resident, choose_victims
from sidecar.core.worth import Worth, passes_without, stays_because


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A load that somebody or something wants now; `need` is what it adds to each device."""

    server: Server
    model: str
    need: Mapping[Device, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Which claims may start now, and which cannot be met, by model."""

    admitted: frozenset[tuple[Server, str]]
    blocked: Mapping[str, Blocked]


@dataclass(slots=True)
class _Room:
    """Bytes of one device while claims are served: `leaving` will be free, but is not yet."""

    free: int
    leaving: int


@dataclass(slots=True)
class Rooms:
    """All devices while claims are served in turn."""

    snapshot: Snapshot
    accounts: Mapping[Device, Account]
    worth: Worth
    gone: dict[str, LetGo] = field(default_factory=dict)
    promised: dict[str, Mapping[Device, int]] = field(default_factory=dict)
    _rooms: dict[Device, _Room] = field(init=False)
    _leaving: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rooms = {
            device: _Room(free=account.free_bytes, leaving=account.leaving_bytes)
            for device, account in self.accounts.items()
        }

    def fits(self, need: Mapping[Device, int]) -> bool:
        return all(
            held <= max(0, room.free) for device, held, room in self._asked(need) if held > 0
        )

    def will_fit(self, need: Mapping[Device, int]) -> bool:
        """Whether it fits as soon as what is leaving has left."""
        return all(held <= room.free + room.leaving for _, held, room in self._asked(need))

    def take(self, need: Mapping[Device, int]) -> None:
        for _, held, room in self._asked(need):
            room.free -= held

    def promise(self, claim: Claim) -> None:
        """A claim has its bytes from now on."""
        self.take(claim.need)
        self.promised[claim.model] = claim.need

    def is_anybody_leaving(self) -> bool:
        return bool(self.gone) or any(room.leaving for room in self._rooms.values())

    def soon_free(self, device: Device) -> int:
        room = self._rooms[device]
        return room.free + room.leaving

    def make(self, claim: Claim) -> Blocked | None:
        """Choose who goes for a claim; nobody goes when that would not be enough."""
        chosen: dict[str, LetGo] = {}
        beside = {claim.model, *together(self.snapshot, claim.model)}
        for device, held, room in self._asked(claim.need):
            short = held - self.soon_free(device) - self._freed(chosen, device)
            if short <= 0:
                continue
            residents = [
                resident
                for resident in self.residents(device, self._priority(claim.model))
                if resident.model not in chosen and resident.model not in beside
            ]
            victims = choose_victims(residents, short)
            if victims is None:
                return self._blocked(claim, device, residents)
            for victim in victims:
                chosen[victim.model] = _eviction(
                    victim,
                    f"evicted for {claim.model}",
                    needed_bytes=held,
                    free_bytes=room.free + room.leaving,
                )
        for departure in chosen.values():
            self.dismiss(departure)
        return None

    def relieve(self) -> None:
        """Let go what is held beyond a budget that has shrunk, or that others use up."""
        for device, account in self.accounts.items():
            excess = -self.soon_free(device)
            if excess <= 0:
                continue
            residents = self.residents(device)
            for victim in choose_victims(residents, excess) or residents:
                reason = f"{device} holds {format_bytes(excess)} more than it may"
                self.dismiss(
                    _eviction(
                        victim,
                        reason,
                        budget_bytes=account.budget_bytes,
                        foreign_bytes=account.foreign_bytes,
                    )
                )

    def make_again(self, claim: Claim) -> bool:
        """Let go as much as a claim needs, though it should have fitted; whether it was enough.

        The server ran out of memory where the account said that there was some.
        """
        for device, held, _ in self._asked(claim.need):
            victims = choose_victims(self.residents(device, self._priority(claim.model)), held)
            for victim in victims or ():
                reason = f"evicted for {claim.model}, for which the server had no memory"
                self.dismiss(_eviction(victim, reason, needed_bytes=held))
            if victims is None:
                return False
        return True

    def dismiss(self, departure: LetGo) -> None:
        """What a departing model holds is on its way out from now on.

        Ensembles go with it, and with an ensemble the models that only it needs.
        """
        going = {each.model: each for each in departures(self.snapshot, departure)}
        self.gone |= going
        outer = going.keys() | {part for model in going for part in self.worth.own_parts(model)}
        for model in outer - self._leaving:
            self._leaving.add(model)
            for device, room in self._rooms.items():
                room.leaving += self._frees(model, device)

    def residents(self, device: Device, priority: int | None = None) -> list[Resident]:
        """Models on a device that may be let go, for one of this priority if it is given."""
        return [
            Resident(
                model=holder.model,
                held_bytes=holder.freed_bytes,
                score=self.worth.score(holder.model, holder.bytes),
                priority=self._priority(holder.model),
            )
            for holder in self.accounts[device].holders
            if holder.server is Server.SERVING
            and holder.hold is Hold.HELD
            and holder.model not in self._leaving
            and holder.model in self.snapshot.models
            and (priority is None or self._priority(holder.model) <= priority)
            and stays_because(self.snapshot, holder.model) is None
        ]

    def _asked(self, need: Mapping[Device, int]) -> Iterator[tuple[Device, int, _Room]]:
        """Devices that nothing is known of are not rationed."""
        for device, held in need.items():
            if device in self._rooms:
                yield device, held, self._rooms[device]

    def _priority(self, model: str) -> int:
        needed = (model, *self.snapshot.needed_by(model))
        return max(self.snapshot.models[each].intent.priority for each in needed)

    def _frees(self, model: str, device: Device) -> int:
        return sum(
            holder.freed_bytes
            for holder in self.accounts[device].holders
            if holder.model == model and holder.server is Server.SERVING
        )

    def _freed(self, chosen: Iterable[str], device: Device) -> int:
        return sum(self._frees(model, device) for model in chosen)

    def _blocked(self, claim: Claim, device: Device, residents: list[Resident]) -> Blocked:
        evictable = {resident.model for resident in residents}
        others = [
            f"{model} (about to be loaded, {format_bytes(need[device])})"
            for model, need in self.promised.items()
            if need.get(device)
        ]
        is_final = not others
        for holder in self.accounts[device].holders:
            model = holder.model
            if model in evictable or model == claim.model or holder.hold is Hold.LEAVING:
                continue
            if not holder.bytes:
                continue
            if model not in self.snapshot.models:
                others.append(f"{model} (not in the store any more, {format_bytes(holder.bytes)})")
                continue
            is_final = is_final and not passes_without(
                self.snapshot, (holder.server, model), (claim.server, claim.model)
            )
            why = stays_because(self.snapshot, model) or f"priority {self._priority(model)}"
            others.append(f"{model} ({why}, {format_bytes(holder.bytes)})")
        return Blocked(
            model=claim.model,
            device=device,
            needed_bytes=claim.need[device],
            free_bytes=max(0, self.soon_free(device)),
            evictable_bytes=sum(resident.held_bytes for resident in residents),
            blocked_by=tuple(others),
            is_final=is_final,
        )


def together(snapshot: Snapshot, model: str) -> Iterator[str]:
    """Models without which loading this one is no use: those of its steps, or of its ensembles'."""
    for each in (model, *snapshot.needed_by(model)):
        yield from snapshot.composing(each)


def departures(snapshot: Snapshot, departure: LetGo) -> Iterator[LetGo]:
    """A departure with those of the ensembles that need the model."""
    yield departure
    for ensemble in snapshot.needed_by(departure.model):
        reason = f"without {departure.model}, a model of its steps: {departure.reason}"
        yield replace(departure, model=ensemble, reason=reason)


def _eviction(victim: Resident, reason: str, **numbers: float) -> LetGo:
    return LetGo(
        model=victim.model,
        reason=reason,
        evicted=True,
        score=victim.score,
        numbers={**numbers, "freed_bytes": victim.held_bytes, "score": victim.score},
    )


def admit(claims: Iterable[Claim], rooms: Rooms) -> Admission:
    """Serve claims in their order. Those that wait for a departure keep their place.

    A claim takes its bytes even while it waits, so that none after it can take them.
    """
    admitted = set()
    blocked: dict[str, Blocked] = {}
    for claim in claims:
        if rooms.fits(claim.need):
            admitted.add((claim.server, claim.model))
        elif not rooms.will_fit(claim.need):
            obstacle = rooms.make(claim)
            if obstacle is not None:
                known = blocked.get(claim.model)
                blocked[claim.model] = known if known and known.is_final else obstacle
                continue
        rooms.promise(claim)
    return Admission(admitted=frozenset(admitted), blocked=blocked)
