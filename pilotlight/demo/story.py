"""The acts in order."""

import shutil
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from embedded.provision import provision
from pilotlight.admin import Admin
from pilotlight.demo import acts
from pilotlight.demo.cold import measure_cold
from pilotlight.demo.proof import Proof, proof_table
from pilotlight.demo.shelf import Shelf, build_example
from pilotlight.paths import EMBEDDED, WORK
from pilotlight.stack import Ports, Stack

SOAK_S = 5.0
HOME = WORK / "demo"


def tell(console: Console) -> bool:
    """Tell the whole story; whether every claim held. Leaves no process behind."""
    began_s = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:5.1f} s[/]  {line}", highlight=False)

    say("embedded Triton: provisioning, if it is not there yet")
    installation = provision(EMBEDDED, say)
    say("model repository: building what changed")
    built = build_example(console)
    shutil.rmtree(HOME, ignore_errors=True)
    shelf = Shelf(built, HOME / "store", built.models())
    requests = {model: shelf.golden(model)[-1].inputs for model in (*acts.HOT, acts.LAZY)}
    say("a plain Triton, to see what a first user meets without us")
    cold = measure_cold(
        installation, shelf, {m: requests[m] for m in ("short_form", acts.LAZY)}, HOME
    )
    say("two Tritons (serving, canary) and the sidecar")
    stack = Stack(
        installation,
        home=HOME,
        store=shelf.store.root,
        ports=Ports.free(),
        soak_s=SOAK_S,
        on_event=say,
    )
    proofs: list[Proof] = []
    with stack, Admin(stack.url) as admin:
        stage = acts.Stage(stack, shelf, admin, requests)
        ready, first_ms = acts.hot_before_ready(stage)
        lazy, lazy_ms = acts.cold_model_on_request(stage)
        proofs += [*acts.no_cold_start(stage, cold, {**first_ms, **lazy_ms}), *ready, *lazy]
        for title, act in ACTS:
            say(title)
            proofs += act(stage)
    console.print(proof_table(proofs))
    say(f"logs, state and stages of this run: {HOME}")
    return all(proof.held for proof in proofs)


ACTS: Sequence[tuple[str, Callable[[acts.Stage], list[Proof]]]] = (
    ("a good version: promoted under traffic, rolled back", acts.promotion_and_rollback),
    ("two bad versions: released under traffic", acts.bad_versions_refused),
    ("tritonserver: SIGKILL", acts.triton_killed),
    ("the sidecar: SIGKILL in the middle of a release", acts.sidecar_killed),
)
