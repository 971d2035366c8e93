"""Transcripts: commands, `----`, what comes of them; blocks share one world.

store short_form 1 2 hot 92MiB   versions in the store, tier, bytes that it holds; pin, priority=1
store pipeline 1 of=tokens,ranker  an ensemble, built with the first versions of these
budget 100MiB                    memory for models
request long_form                comes now, and waits where the model is not loaded
fate short_form 2 wrong          see `tests.simulation.Fate`
recorded short_form 1            version 1 served before
strategy shift=5,50              of releases from now on; also copies, approval
ask release short_form 2         also: load, unload, rollback, promote, pause, resume, abort
kill serving                     also: restart
new sidecar                      the old one died
unmount / mount                  the store
limit 1                          loads in flight per server
plan                             shows the next plan
run [until soaking]              works until nothing is left, or a release is there
wait 60s
status short_form                what people are told
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, assert_never

from contract.intent import Tier
from sidecar.core.actions import (
    Blocked,
    Check,
    Ensure,
    Keep,
    LetGo,
    Note,
    ReadAhead,
    Readmit,
    Reject,
    Remove,
    Restart,
    SaveRelease,
    SaveServing,
    SaveTrain,
    SetAside,
    Settle,
    Work,
)
from sidecar.core.activation import Answers, NotServed, Resting
from sidecar.core.fleet import OperationKind, Quarantine, Server
from sidecar.core.memory import CPU
from sidecar.core.policy import Policy
from sidecar.core.release import WATCHED, ReleaseState
from sidecar.core.status import model_status, unready
from sidecar.core.strategy import Strategy
from tests.builders import MIB, NOW_S, model
from tests.simulation import Fate, Refusal, World, chained

RULE = "----"
MOST_CYCLES = 100
IN_ROUNDS = WATCHED | {ReleaseState.COMPARING}


def replay(text: str) -> str:
    """The transcript as it should be: its commands, and what came of them this time."""
    world = World(models={}, fates={}, policy=Policy(soak_s=60.0, parallel_loads=4))
    blocks = []
    for block in text.strip().split("\n\n"):
        commands = block.split(f"\n{RULE}", 1)[0]
        said = [
            line
            for command in commands.splitlines()
            if not command.startswith("#")
            for line in _obey(world, *command.split())
        ]
        blocks.append("\n".join([commands, RULE, *(said or ["nothing"])]) if said else commands)
    return "\n\n".join(blocks) + "\n"


def _obey(world: World, verb: str, *words: str) -> Iterator[str]:
    if verb not in _COMMANDS:
        raise ValueError(f"no command: {' '.join((verb, *words))}; see {__name__}")
    yield from _COMMANDS[verb](world, *words) or ()


def _store(world: World, name: str, *words: str) -> None:
    versions = [int(word) for word in words if word.isdigit()]
    tier = next((tier for tier in Tier if tier in words), Tier.COLD)
    sizes = [int(word.removesuffix("MiB")) for word in words if word.endswith("MiB")]
    said = dict(word.split("=") for word in words if "=" in word)
    intent: dict[str, Any] = {
        "tier": tier,
        "pin": "pin" in words,
        "priority": int(said.get("priority", 0)),
    }
    if "of" in said:
        built_with = dict.fromkeys(said["of"].split(","), 1)
        world.models[name] = chained(name, dict.fromkeys(versions, built_with), **intent)
    else:
        disk_bytes = (sizes or [1])[0] * MIB
        world.models[name] = model(name, versions=versions, disk_bytes=disk_bytes, **intent)
    for version in versions:
        world.fates.setdefault((name, version), Fate.GOOD)


def _fate(world: World, name: str, version: str, fate: str) -> None:
    world.fates[name, int(version)] = Fate(fate)


def _recorded(world: World, name: str, version: str) -> None:
    world.served_before(name, int(version))


def _limit(world: World, loads: str) -> None:
    world.policy = replace(world.policy, parallel_loads=int(loads))


def _budget(world: World, size: str) -> None:
    held = int(size.removesuffix("MiB")) * MIB
    world.policy = replace(world.policy, budgets={CPU: held}, headroom=0.0)


def _request(world: World, name: str) -> Iterator[str]:
    if world.servers[Server.SERVING].answers(name):
        world.request(name)
        yield f"hit     {name}"
    else:
        world.wait_for(name)


def _wait(world: World, seconds: str) -> None:
    world.now_s += float(seconds.removesuffix("s"))


def _strategy(world: World, *words: str) -> None:
    said: dict[str, object] = dict(word.split("=") for word in words)
    if "shift" in said:
        said["shift"] = [int(share) for share in str(said["shift"]).split(",")]
    world.strategy = Strategy.model_validate(said)


def _ask(world: World, kind: str, name: str, *version: str) -> Iterator[str]:
    try:
        world.ask(OperationKind(kind), name, *map(int, version))
    except Refusal:
        yield f"refused: {kind} {name}"


def _plan(world: World) -> Iterator[str]:
    planned = world.plan()
    yield from (_describe_note(note) for note in planned.notes)
    yield from (_describe_work(work) for work in planned.work)
    if planned.wake_at_s is not None and not planned.notes:
        yield f"wait until +{planned.wake_at_s - NOW_S:.0f}s"
    if not (planned.notes or planned.work or planned.wake_at_s):
        yield "nothing to do"


def _run(world: World, *until: str) -> Iterator[str]:
    """`until` is either empty or `until` and a state."""
    states = {ReleaseState(state) for state in until[1:]}
    for _ in range(MOST_CYCLES):
        planned = world.cycle()
        yield from _describe_answers(world)
        yield from (_describe_note(note) for note in planned.notes)
        if any(release.state in states for release in world.releases.values()):
            return
        for work in list(world.in_flight):
            yield from _carry_out(world, work)
        if not planned.notes and not planned.work:
            if planned.wake_at_s is None:
                return
            waited_s = planned.wake_at_s - world.now_s
            if not any(release.state in IN_ROUNDS for release in world.releases.values()):
                yield f"wait    {waited_s:.1f} s"
            world.now_s = planned.wake_at_s
    yield "..."


def _carry_out(world: World, work: Work) -> Iterator[str]:
    if isinstance(work, Check) and work.trial is not None:
        # The first round stands for all of them.
        world.finish(work)
        return
    yield from _first(world, work)


def _first(world: World, work: Work) -> Iterator[str]:
    yield _describe_work(work)
    failures, outcomes = dict(world.failures), dict(world.outcomes)
    world.finish(work)
    for (server, name), failure in world.failures.items():
        if failures.get((server, name)) is not failure:
            lost = " (lost)" if failure.lost else ""
            yield f"        failed: {failure.reason}{lost}"
    for key, outcome in world.outcomes.items():
        if outcomes.get(key) is not outcome:
            yield f"        {outcome.note}"


def _describe_note(note: Note) -> str:
    match note:
        case SaveRelease(release=release):
            return f"release {release.model} {release.version}: {release.state}: {release.reason}"
        case SaveServing(model=name, version=version, reason=reason):
            return f"record  {name} {version}: {reason}"
        case Keep() | LetGo() | SetAside() | Readmit():
            return _describe_residency(note)
        case Reject(model=name, version=version, rejection=rejection):
            return f"reject  {name} {version}: {rejection.reason}"
        case SaveTrain(reason=reason):
            return reason
        case Settle(operation=operation):
            return f"ended   {operation.kind} {operation.model}: {operation.error or 'done'}"
        case _:
            assert_never(note)


def _describe_residency(note: Keep | LetGo | SetAside | Readmit) -> str:
    match note:
        case Keep(model=name, reason=reason):
            return f"keep    {name}: {reason}"
        case LetGo(model=name, reason=reason):
            return f"let go  {name}: {reason}"
        case SetAside(model=name, quarantine=found):
            until = f"+{found.until_s - NOW_S:.0f}s" if found.until_s else "somebody clears it"
            return f"aside   {name} until {until}: {found.kind}: {found.reason}"
        case Readmit(model=name, reason=reason):
            return f"readmit {name}: {reason}"
        case _:
            assert_never(note)


def _describe_answers(world: World) -> Iterator[str]:
    for name, found in world.answered.items():
        match found:
            case Answers():
                yield f"answer  {name}: served"
            case Quarantine(reason=reason):
                yield f"answer  {name}: 423 {reason}"
            case Blocked():
                yield f"answer  {name}: 507 {found}"
            case NotServed():
                yield f"answer  {name}: 404"
            case Resting(mode=mode):
                yield f"answer  {name}: 503 {mode}"
            case _:
                assert_never(found)
    world.answered.clear()


def _describe_work(work: Work) -> str:
    match work:
        case Ensure(server=server, model=name, placement=placement, reason=reason):
            versions = ",".join(map(str, placement.versions))
            warmup = "" if "model_warmup" in placement.config else " without warm-up"
            return f"load    {server} {name} {{{versions}}}{warmup}: {reason}"
        case Remove(server=server, model=name, reason=reason):
            return f"unload  {server} {name}: {reason}"
        case ReadAhead(model=name, version=version, reason=reason):
            return f"read    {name} {version}: {reason}"
        case Restart(server=server, reason=reason):
            return f"restart {server}: {reason}"
        case Check(kind=kind, release=release, reason=reason):
            return f"check   {kind} of {release.model} {release.version}: {reason}"
        case _:
            assert_never(work)


def _status(world: World, name: str) -> Iterator[str]:
    seen = world.snapshot()
    found = model_status(seen, name)
    versions = ",".join(map(str, found.ready))
    yield f"{name}: {found.warmth}, serves {{{versions}}}, recorded {found.serving}: {found.reason}"
    yield "; ".join(unready(seen)) or "ready"


_COMMANDS: dict[str, Callable[..., Iterator[str] | None]] = {
    "store": _store,
    "fate": _fate,
    "recorded": _recorded,
    "limit": _limit,
    "budget": _budget,
    "request": _request,
    "strategy": _strategy,
    "ask": _ask,
    "kill": lambda world, server: world.kill(Server(server)),
    "restart": lambda world, server: world.restart(Server(server)),
    "new": lambda world, _sidecar: world.replace_sidecar(),
    "unmount": World.unmount,
    "mount": World.mount,
    "wait": _wait,
    "plan": _plan,
    "run": _run,
    "status": _status,
}
