"""Whatever happens, and wherever a plan is cut off: the laws hold, and the world comes to rest.

The laws themselves are checked by `tests.simulation` at each step.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.intent import Tier
from sidecar.core.fleet import OperationKind, Server, StoredModel
from sidecar.core.memory import CPU, Device
from sidecar.core.policy import Policy
from sidecar.core.strategy import DEFAULT_STRATEGY, Approval, Copies, Strategy
from tests.builders import MIB, model
from tests.simulation import Fate, Refusal, World, chained

NAMES = ("a", "b", "c")
ENSEMBLE = "x"
VERSIONS = (1, 2, 3)
Happening = Callable[[World], None]


@dataclass(frozen=True)
class Asked:
    kind: OperationKind
    model: str
    version: int = 0

    def __call__(self, world: World) -> None:
        with suppress(Refusal):
            world.ask(self.kind, self.model, self.version)


@dataclass(frozen=True)
class WaitedFor:
    """A request for a model, whether it is loaded or not."""

    model: str

    def __call__(self, world: World) -> None:
        world.wait_for(self.model)


@dataclass(frozen=True)
class Planned:
    """One cycle, cut off after so many notes or actions."""

    at_most: int

    def __call__(self, world: World) -> None:
        world.cycle(at_most=self.at_most)


@dataclass(frozen=True)
class Finished:
    """Actions end in any order."""

    which: int

    def __call__(self, world: World) -> None:
        if world.in_flight:
            world.finish(world.in_flight[self.which % len(world.in_flight)])


@dataclass(frozen=True)
class Killed:
    server: Server

    def __call__(self, world: World) -> None:
        world.kill(self.server)


@dataclass(frozen=True)
class Restarted:
    server: Server

    def __call__(self, world: World) -> None:
        world.restart(self.server)


@dataclass(frozen=True)
class Replaced:
    """The sidecar dies and another one takes over."""

    def __call__(self, world: World) -> None:
        world.replace_sidecar()


@dataclass(frozen=True)
class Unmounted:
    def __call__(self, world: World) -> None:
        world.unmount()


@dataclass(frozen=True)
class Mounted:
    def __call__(self, world: World) -> None:
        world.mount()


@dataclass(frozen=True)
class Waited:
    seconds: float

    def __call__(self, world: World) -> None:
        world.now_s += self.seconds


@dataclass(frozen=True)
class Rested:
    """Nothing happens for long, so that stories get far."""

    def __call__(self, world: World) -> None:
        world.come_to_rest()


@dataclass(frozen=True)
class Worked:
    """A few undisturbed cycles."""

    cycles: int

    def __call__(self, world: World) -> None:
        for _ in range(self.cycles):
            world.cycle()
            for work in list(world.in_flight):
                world.finish(work)


# Mostly releases of one model, so that one thing follows another.
KINDS = [OperationKind.RELEASE, OperationKind.ROLLBACK] * 2 + list(OperationKind)
asked = st.one_of(
    st.builds(
        Asked, st.sampled_from(KINDS), st.sampled_from("aaaabcxx"), st.sampled_from(VERSIONS)
    ),
    st.builds(WaitedFor, st.sampled_from("abcx")),
)
interruptions = st.one_of(
    st.builds(Planned, st.integers(0, 3)),
    st.builds(WaitedFor, st.sampled_from("abcx")),
    st.builds(Finished, st.integers(0, 5)),
    st.builds(Worked, st.integers(1, 12)),
    st.builds(Waited, st.sampled_from([0.4, 30.0, 100.0])),
    st.builds(Replaced),
    st.builds(Killed, st.sampled_from(Server)),
    st.builds(Restarted, st.sampled_from(Server)),
    st.builds(Unmounted),
    st.builds(Mounted),
)
chapters = st.tuples(
    asked, st.builds(Worked, st.integers(0, 12)), st.lists(interruptions, max_size=4)
)


@st.composite
def stories(draw: st.DrawFn) -> list[Happening]:
    """Requests, each with a few interruptions, and time to come to rest after some."""
    happenings: list[Happening] = [Rested()] if draw(st.booleans()) else []
    for request, work, disturbances in draw(st.lists(chapters, min_size=2, max_size=6)):
        happenings += [request, work, *disturbances]
        if draw(st.booleans()):
            happenings.append(Rested())
    return happenings


STRATEGIES = [
    DEFAULT_STRATEGY,
    Strategy(shift=(5, 50), bake_s=30.0),
    Strategy(copies=Copies.ONE_AT_A_TIME),
    Strategy(approval=Approval.MANUAL, soak_s=0.0),
]


def _budget(mib: int) -> dict[Device, int]:
    return {CPU: mib * MIB}


intents = st.fixed_dictionaries(
    {"tier": st.sampled_from(Tier), "pin": st.booleans(), "priority": st.integers(0, 1)}
)
fates = st.just(Fate.GOOD) | st.sampled_from(Fate)
fates_without_warmup = fates.filter(lambda fate: fate is not Fate.BAD_WARMUP)


@st.composite
def ensembles(draw: st.DrawFn, models: Sequence[str]) -> StoredModel:
    """Of some of these models in each version, mostly built with their first versions."""
    steps = st.dictionaries(st.sampled_from(models), st.sampled_from((1, 1, 1, 2)), min_size=1)
    return chained(ENSEMBLE, {number: draw(steps) for number in VERSIONS}, **draw(intents))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to three models and an ensemble, of three versions each, some of which served before."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    models = {
        name: model(
            name, versions=VERSIONS, disk_bytes=draw(st.integers(1, 3)) * MIB, **draw(intents)
        )
        for name in names
    }
    if draw(st.booleans()):
        models[ENSEMBLE] = draw(ensembles(names))
    world = World(
        models=models,
        fates={
            (name, version): draw(fates_without_warmup if stored.parts else fates)
            for name, stored in models.items()
            for version in VERSIONS
        },
        strategy=draw(st.sampled_from(STRATEGIES)),
        policy=Policy(
            soak_s=draw(st.sampled_from([0.0, 60.0])),
            parallel_loads=draw(st.integers(1, 2)),
            budgets=draw(st.just({}) | st.builds(_budget, st.integers(2, 12))),
            headroom=0.0,
        ),
    )
    some = st.sets(st.sampled_from(sorted(models)))
    for name in draw(st.just(models) | some):
        world.served_before(name, 1)
    return world


# Seconds of computing: a busy machine may take ten times as long.
@pytest.mark.timeout(300)
@settings(max_examples=300, deadline=None)
@given(world=worlds(), story=stories())
def test_every_story_keeps_the_laws_and_comes_to_rest(world: World, story: list[Happening]) -> None:
    for happens in story:
        happens(world)

    world.come_to_rest()
    world.check_rest()


def crowded(budget_mib: int) -> World:
    """`x`, made of `a` and `b`, and `c`: all served before, and not all have room."""
    world = World(
        models={name: model(name, versions=[1, 2], tier="auto") for name in NAMES}
        | {"x": chained("x", {1: {"a": 1, "b": 1}, 2: {"a": 1, "b": 1}}, tier="auto")},
        fates=dict.fromkeys(((name, number) for name in "abcx" for number in (1, 2)), Fate.GOOD),
        policy=Policy(soak_s=60.0, parallel_loads=2, budgets=_budget(budget_mib), headroom=0.0),
    )
    for name in world.models:
        world.served_before(name, 1)
    return world


DISTURBED = [st.builds(Planned, st.integers(0, 2)), st.builds(Finished, st.integers(0, 5))]
RELEASED = [OperationKind.RELEASE, OperationKind.ROLLBACK]


@settings(max_examples=100, deadline=None)
@given(
    budget_mib=st.integers(2, 6),
    story=st.lists(
        st.one_of(
            st.builds(WaitedFor, st.sampled_from("abcx")),
            st.builds(Asked, st.sampled_from(RELEASED), st.sampled_from("abx"), st.just(2)),
            st.builds(Asked, st.sampled_from(OperationKind), st.sampled_from("ax"), st.just(2)),
            st.builds(Worked, st.integers(1, 8)),
            st.builds(Killed, st.sampled_from(Server)),
            *DISTURBED,
        ),
        max_size=30,
    ),
)
def test_an_ensemble_and_its_models_keep_the_laws_where_room_is_scarce(
    budget_mib: int, story: list[Happening]
) -> None:
    world = crowded(budget_mib)
    for happens in story:
        happens(world)

    world.come_to_rest()
    world.check_rest()


def fleet(**fates: Fate) -> World:
    """Hot model `a`: version 1 served before, version 2 has the fate given."""
    world = World(
        models={"a": model("a", versions=[1, 2], tier="hot")},
        fates={("a", 2): fates.get("second", Fate.GOOD)},
        policy=Policy(soak_s=60.0, parallel_loads=4),
    )
    world.served_before("a", 1)
    return world


@pytest.mark.parametrize("fate", Fate)
def test_a_version_gets_the_traffic_if_and_only_if_it_is_good(fate: Fate) -> None:
    world = fleet(second=fate)
    world.come_to_rest()
    world.ask(OperationKind.RELEASE, "a", 2)

    world.come_to_rest()
    world.check_rest()

    ended = next(each for each in world.ended if each.kind is OperationKind.RELEASE)
    assert world.serving == {"a": 2 if fate is Fate.GOOD else 1}
    assert (ended.error is None) == (fate is Fate.GOOD)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 2), max_size=40), replaced=st.sets(st.integers(0, 40)))
@example(cuts=[0] * 40, replaced={0})
def test_a_release_that_is_cut_off_anywhere_is_finished(
    cuts: list[int], replaced: set[int]
) -> None:
    """After each prefix of each plan, with the same sidecar or with a new one."""
    world = fleet()
    world.come_to_rest()
    world.ask(OperationKind.RELEASE, "a", 2)

    for at, cut in enumerate(cuts):
        world.cycle(at_most=cut)
        if world.in_flight and cut:
            world.finish(world.in_flight[0])
        if at in replaced:
            world.replace_sidecar()
    world.come_to_rest()
    world.check_rest()

    assert world.serving == {"a": 2}
