"""The acts in order."""

import shutil
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from embedded.provision import provision, provision_envoy
from pilotlight.admin import Admin
from pilotlight.demo import acts, first
from pilotlight.demo.cold import measure_cold
from pilotlight.demo.proof import Proof, proof_table
from pilotlight.demo.shelf import Shelf, build_example
from pilotlight.demo.stage import HOT, LAZY, RELEASED, Stage
from pilotlight.paths import EMBEDDED, ENVOY, WORK
from pilotlight.stack import Ports, Stack

SOAK_S = 5.0
HOME = WORK.absolute() / "demo"


def tell(console: Console) -> list[Proof]:
    """Tell the whole story, and say what it proved. Leaves no process behind."""
    began_s = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:5.1f} s[/]  {line}", highlight=False)

    say("embedded Triton and Envoy: provisioning, if they are not there yet")
    installation = provision(EMBEDDED, say)
    envoy = provision_envoy(ENVOY, say)
    say("model repository: building what changed")
    built = build_example(console)
    shutil.rmtree(HOME, ignore_errors=True)
    shelf = Shelf(built, HOME / "store", built.models())
    requests = {model: shelf.request(model) for model in (*HOT, LAZY)}
    say("a plain Triton, to see what a first user meets without us")
    cold = measure_cold(
        installation, shelf, {model: requests[model] for model in (RELEASED, LAZY)}, HOME
    )
    say("two Tritons (serving, canary), the gateway and the sidecar")
    stack = Stack(
        installation,
        home=HOME,
        store=shelf.store.root,
        ports=Ports.free(),
        soak_s=SOAK_S,
        on_event=say,
        envoy=envoy,
    )
    proofs: list[Proof] = []
    with stack, Admin(stack.url) as admin:
        stage = Stage(stack, shelf, admin, requests)
        ready, hot_ms = first.hot_before_ready(stage)
        say("a cold model: its first users are held while it is loaded")
        held = first.held_and_answered(stage)
        direct, lazy_ms = first.without_proxy(stage)
        compared = first.no_cold_start(stage, cold, {**hot_ms, **lazy_ms})
        proofs += [*compared, *ready, *held, *direct]
        for title, act in ACTS:
            say(title)
            proofs += act(stage)
    console.print(proof_table(proofs))
    say(f"logs, state and stages of this run: {HOME}")
    say("next: docs/tutorial.md, with a model of your own, or `pilotlight init` on what you have")
    return proofs


ACTS: Sequence[tuple[str, Callable[[Stage], list[Proof]]]] = (
    ("a crowd of first users at the same moment", first.a_crowd),
    ("a model unloaded while it is asked for", acts.unloaded_under_traffic),
    ("a good version: promoted under traffic, rolled back", acts.promotion_and_rollback),
    ("requests shifted to a version in shares", acts.shifted),
    ("three bad versions: released under traffic", acts.bad_versions_refused),
    ("tritonserver: SIGKILL", acts.triton_killed),
    ("the sidecar: SIGKILL in mid-release, and at each start for a while", acts.sidecar_killed),
)
