"""Releases behind the gateway: what clients meet while versions are shifted, swapped and undone."""

import asyncio
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from contract.dtypes import Datatype
from contract.intent import Intent, Tier
from contract.layout import ONNX_MODEL, Store
from contract.manifest import Signature, record_files
from embedded.provision import Installation
from pilotlight.admin import AdminError, OperationFailed
from tests import builders
from tests.e2e.gateway.clients import (
    PAUSE_S,
    Crowd,
    Reply,
    crowd,
    message,
    over_grpc,
    over_http,
    wrong,
)
from tests.e2e.gateway.conftest import House, house
from tests.e2e.gateway.models import Shelf
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

WITHIN_S = 120.0
USERS = [f"user-{number}" for number in range(20)]
BAKE_S = 4.0
ENOUGH = 100
"""Requests, to tell a share."""
CLIENTS = 6
DEVIATIONS = 5
"""Of a fair choice, by which a share may be off."""
UNCOMPARED = {"outputs": "any", "latency_margin": None}
"""Of a strategy, where a comparison is not what a test is about."""
LONG = {"soak_s": 600.0, "bake_s": 600.0}
HELD_MIB = 100
LOAD_S = 0.5
WEIGHTS_MIB, BUDGET_MIB = 80, 150
MODELS = (
    "shifted",
    "failing-2",
    "failing-3",
    "taken-back",
    "single",
    "approved",
    "recorded",
    "superseded",
    "paused",
    "stuck",
)

Body = dict[str, Any]

_MODEL = """
import os
import time

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        server = os.path.basename(os.path.dirname(args["model_repository"]))
        self.name = server + " " + args["model_version"]
        self.tell("comes")
        self.weights = numpy.ones({weights_mib} * 2**17)
        time.sleep({load_s})
        while server == "serving" and os.path.exists({closed!r}):
            time.sleep(0.02)

    def finalize(self):
        self.tell("left")

    def tell(self, what):
        with open({lives!r}, "a") as lives:
            lives.write(self.name + " " + what + "\\n")

    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(each, "x").as_numpy() for each in requests]
        if any(x.ravel().tolist() == [1.0, 3.0] for x in inputs):
            {asked}
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", 2 * x)]) for x in inputs]
"""
_TOKEN = """input { name: "token" data_type: TYPE_STRING dims: [1] optional: true }
"""
RAISES = 'raise ValueError("out of order")'
ANSWERS = """return [
                pb_utils.InferenceResponse(error=pb_utils.TritonError("out of order"))
                for _ in requests
            ]"""
"""Triton counts these as answered; only the gateway knows better."""


class Versions(Shelf):
    """Of models in Python, y = 2 x, which write down when they come to a server and leave it."""

    def add(
        self,
        model: str,
        version: int,
        *,
        asked: str = "pass",
        weights_mib: int = 0,
        is_closed: bool = False,
    ) -> int:
        """`asked` is what it does with the request of our clients, which no sample knows.

        A load of what `is_closed` goes on, on the serving server, until `open` is called.
        """
        built = Store(self._home / "built")
        signed = Signature(
            inputs=(builders.tensor("x", 2), builders.tensor("token", 1, datatype=Datatype.BYTES)),
            outputs=(builders.tensor("y", 2),),
            max_batch_size=8,
        )
        builders.publish(built, model, version, signed=signed)
        folder = built.version(model, version)
        (folder.path / ONNX_MODEL).unlink()
        text = _MODEL.format(
            lives=str(self._lives(model)),
            closed=str(self._closed(model)),
            load_s=LOAD_S,
            weights_mib=weights_mib,
            asked=asked,
        )
        (folder.path / "model.py").write_text(text)
        if is_closed:
            self._closed(model).touch()
        # Else Python makes a folder of it, and Triton takes the version for a changed one.
        (folder.path / "__pycache__").touch()
        config = folder.config.read_text().replace('"onnxruntime"', '"python"')
        folder.config.write_text(config.replace("output {", f"{_TOKEN}output {{", 1))
        manifest = json.loads(folder.manifest.read_text())
        held = HELD_MIB * builders.MIB
        manifest["cost"] |= {"private_bytes": held, "peak_bytes": held}
        manifest["files"] = {
            path: {"sha256": record.sha256, "bytes": record.bytes}
            for path, record in record_files(folder.path).items()
        }
        folder.manifest.write_text(json.dumps(manifest))
        there = self.store.version(model, version).path
        there.parent.mkdir(parents=True, exist_ok=True)
        self.store.intent(model).write_text(Intent(tier=Tier.HOT).model_dump_json())
        folder.path.rename(there)
        return version

    def held(self, model: str) -> list[set[int]]:
        """What the serving server has held of a model, after each change."""
        found: list[set[int]] = [set()]
        for line in self._lives(model).read_text().splitlines():
            server, version, what = line.split()
            if server == "serving":
                change = {int(version)}
                found.append(found[-1] | change if what == "comes" else found[-1] - change)
        return found

    def _lives(self, model: str) -> Path:
        return self._home / f"{model}.lives"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of a client; times are those of the wall clock, as a release's are."""

    began_s: float
    ended_s: float
    user: str | None
    reply: Reply

    @property
    def version(self) -> int | None:
        """Which one answered; None where there was no answer."""
        if self.reply.code == 200:
            return int(json.loads(self.reply.body)["model_version"])
        if self.reply.code == "OK":
            return int(service_pb2.ModelInferResponse.FromString(self.reply.body).model_version)
        return None


class Visits(list[Visit]):
    async def add(self, user: str | None, asked: Awaitable[Reply]) -> None:
        began_s = time.time()
        reply = await asked
        self.append(Visit(began_s=began_s, ended_s=time.time(), user=user, reply=reply))
        # Clients that never rest would leave the releases no processor.
        await asyncio.sleep(PAUSE_S)

    @property
    def wrong(self) -> list[Reply]:
        return wrong([visit.reply for visit in self])

    def between(self, since_s: float, until_s: float) -> "Visits":
        """Those that were made as a whole in that time."""
        return Visits(each for each in self if since_s < each.began_s and each.ended_s < until_s)

    def versions(self) -> Counter[int | None]:
        """Who answered those without a name, and how often."""
        return Counter(each.version for each in self if each.user is None)

    def versions_by_user(self) -> dict[str, set[int | None]]:
        found = defaultdict(set)
        for each in self:
            if each.user is not None:
                found[each.user].add(each.version)
        return dict(found)

    async def enough(self, since_s: float) -> "Visits":
        """Those that begin after that time; returns when they tell a share."""

        async def are_there() -> bool:
            return self.between(since_s, math.inf).versions().total() >= ENOUGH

        await eventually(are_there, f"{ENOUGH} clients ask")
        return self.between(since_s, math.inf)

    async def go_on(self, since_s: float) -> "Visits":
        """Those that begin after that time; returns when there are some without a name."""

        async def are_there() -> bool:
            return bool(self.between(since_s, math.inf).versions())

        await eventually(are_there, "clients ask again")
        return self.between(since_s, math.inf)


class Desk:
    """What operators do with the releases of one model, and its clients meanwhile."""

    def __init__(self, shop: House, clients: Crowd, model: str) -> None:
        self._shop = shop
        self._clients = clients
        self.model = model

    async def release(self, version: int, *, supersede: bool = False, **strategy: object) -> Body:
        body = {"version": version, "strategy": strategy, "supersede": supersede}
        return await self._ask(f"/v1/models/{self.model}/releases", body)

    async def roll_back(self) -> Body:
        return await self._ask(f"/v1/models/{self.model}:rollback")

    async def do(self, action: str, operation: Body) -> Body:
        """To the release of an operation: promote, pause, resume, or abort it."""
        return await self._ask(f"{operation['release']}:{action}")

    async def seen(self, operation: Body) -> Body:
        return await asyncio.to_thread(self._shop.admin.release, operation["release"])

    async def until(self, operation: Body, holds: Callable[[Body], bool], what: str) -> Body:
        """The release when that holds."""
        found: list[Body] = []

        async def is_so() -> bool:
            found[:] = [await self.seen(operation)]
            return holds(found[0])

        try:
            await eventually(is_so, what, WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {found}") from None
        return found[0]

    async def came_to(self, operation: Body, state: str) -> Body:
        return await self.until(operation, lambda seen: seen["state"] == state, state)

    async def ended(self, operation: Body) -> Body:
        """The release when the operation is over, whatever came of it."""
        with suppress(OperationFailed):
            await asyncio.to_thread(self._shop.admin.wait, operation, WITHIN_S)
        return await self.seen(operation)

    async def serving(self) -> tuple[int, list[int]]:
        """The version that serves, and all that are loaded."""
        found = await asyncio.to_thread(self._shop.admin.model, self.model)
        return found["serving_version"], found["ready_versions"]

    async def weights(self) -> dict[int, int]:
        """By which the gateway shares requests among versions now."""
        found = await asyncio.to_thread(self._shop.admin.traffic, self.model)
        return {int(version): weight for version, weight in found["effective"]["weights"].items()}

    async def shares(self, weights: dict[int, int]) -> None:
        """Return when the gateway shares requests so."""

        async def is_so() -> bool:
            return await self.weights() == weights

        await eventually(is_so, f"requests are shared {weights}")

    @asynccontextmanager
    async def shares_of(self, version: int) -> AsyncIterator[dict[int, float]]:
        """Since when, at the latest, the gateway has sent a version its shares, by percentage.

        It is asked until the block ends.
        """
        found: dict[int, float] = {}
        over = asyncio.Event()

        async def look() -> None:
            while not over.is_set():
                share = (await self.weights()).get(version, 0)
                found.setdefault(share, time.time())
                await asyncio.sleep(PAUSE_S)

        async with asyncio.TaskGroup() as group:
            group.create_task(look())
            try:
                yield found
            finally:
                over.set()

    @asynccontextmanager
    async def visits(self) -> AsyncIterator[Visits]:
        """Clients of each kind, half of those over HTTP with a name, until the block ends."""
        made, over = Visits(), asyncio.Event()

        async def keep_asking(users: Sequence[str | None], ask: Callable[..., Any]) -> None:
            for user in cycle(users):
                if over.is_set():
                    return
                headers = {"headers": {"x-user": user}} if user else {}
                await made.add(user, ask(self.model, **headers))

        async with asyncio.TaskGroup() as group:
            for users in (USERS[::2], USERS[1::2]):
                group.create_task(keep_asking(users, self._clients.http))
            grpc = self._clients.grpc
            for ask in (self._clients.http, grpc, grpc, self._clients.in_stream):
                group.create_task(keep_asking((None,), ask))
            try:
                yield made
            finally:
                over.set()

    async def _ask(self, path: str, body: Body | None = None) -> Body:
        return await asyncio.to_thread(self._shop.admin.ask, path, body)


@pytest.fixture(scope="module")
def shop(
    installation: Installation, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Each test has a model of its own there."""
    home = tmp_path_factory.mktemp("releases")
    versions = Versions(home)
    for name in MODELS:
        versions.add(name, 1)
    with house(installation, envoy_binary, home / "home", versions) as built:
        yield built


@pytest.fixture
async def clients(shop: House) -> AsyncIterator[Crowd]:
    async with crowd(shop.http, shop.grpc) as clients:
        yield clients


def versions_of(shop: House) -> Versions:
    assert isinstance(shop.shelf, Versions)
    return shop.shelf


def states(release: Body) -> list[str]:
    """Without remarks."""
    found: list[str] = []
    for step in release["steps"]:
        if found[-1:] != [step["state"]]:
            found.append(step["state"])
    return found


def times_s(release: Body, *states: str) -> list[float]:
    """When it entered these, and of each remark there."""
    return [
        datetime.fromisoformat(step["at"]).timestamp()
        for step in release["steps"]
        if step["state"] in states
    ]


async def test_requests_are_shifted_in_shares_and_a_user_stays_with_a_version(
    shop: House, clients: Crowd
) -> None:
    desk = Desk(shop, clients, "shifted")
    version = versions_of(shop).add("shifted", 2)
    shift = {"shift": [10, 50], "bake_s": BAKE_S, "sticky_header": "x-user", "soak_s": 1.0}
    async with desk.visits() as visits:
        async with desk.shares_of(version) as begun_s:
            release = await desk.ended(await desk.release(version, **shift, **UNCOMPARED))
        later = await visits.go_on(time.time())
    assert visits.wrong == []
    tenth_s, half_s, all_s = times_s(release, "shifting", "soaking")
    assert states(release)[-6:] == [
        "pinning",
        "promoting",
        "shifting",
        "soaking",
        "finishing",
        "done",
    ]
    assert set(visits.between(0, tenth_s).versions()) == {1}
    for share, until_s in ((10, half_s), (50, all_s)):
        met = visits.between(begun_s.get(share, until_s), until_s)
        assert is_share(met.versions()[version], share / 100, met.versions().total())
        assert {len(each) for each in met.versions_by_user().values()} <= {1}
    assert set(later.versions()) == {version}
    assert await desk.serving() == (version, [version])
    await has_held(shop, "shifted", [set(), {1}, {1, 2}, {2}])


@pytest.mark.parametrize(("version", "how"), [(2, RAISES), (3, ANSWERS)], ids=["raises", "answers"])
async def test_a_version_that_fails_on_what_clients_ask_goes_back_by_itself(
    shop: House, clients: Crowd, version: int, how: str
) -> None:
    model = f"failing-{version}"
    desk = Desk(shop, clients, model)
    versions_of(shop).add(model, version, asked=how)
    shift = {"shift": [10], **LONG, **UNCOMPARED}
    async with desk.visits() as visits:
        release = await desk.ended(await desk.release(version, **shift))
        later = await visits.go_on(time.time())
    assert states(release)[-3:] == ["shifting", "rolling_back", "rolled_back"]
    assert "requests of clients failed" in release["reason"]
    assert release["rejected"]
    shifting_s, back_s, _ = times_s(release, "shifting", "rolling_back", "rolled_back")
    assert back_s - shifting_s < LONG["bake_s"] / 10
    assert all("out of order" in reply.error for reply in visits.wrong)
    # From the first of them on, for the gateway begins later than the step says.
    met = visits.between(min(each.began_s for each in visits if not each.reply.is_right), back_s)
    assert is_share(len(met.wrong), 0.1, len(met))
    assert later.wrong == []
    assert visits.between(0, shifting_s).wrong == []
    assert await desk.serving() == (1, [1])
    with pytest.raises(AdminError, match="423 version_rejected"):
        await desk.release(version)


async def test_a_rollback_in_mid_shift_costs_nobody_an_answer(shop: House, clients: Crowd) -> None:
    desk = Desk(shop, clients, "taken-back")
    version = versions_of(shop).add("taken-back", 2)
    async with desk.visits() as visits:
        shift = {"shift": [50], "sticky_header": "x-user"}
        operation = await desk.release(version, **shift, **LONG, **UNCOMPARED)
        await desk.came_to(operation, "shifting")
        await desk.shares({1: 50, version: 50})
        met = await visits.enough(time.time())
        await desk.ended(await desk.roll_back())
        later = await visits.go_on(time.time())
    assert visits.wrong == []
    assert is_share(met.versions()[version], 0.5, met.versions().total())
    assert {len(each) for each in met.versions_by_user().values()} == {1}
    assert set(later.versions()) == {1}
    release = await desk.ended(operation)
    assert (release["state"], release["rejected"]) == ("rolled_back", False)
    await has_held(shop, "taken-back", [set(), {1}, {1, 2}, {1}])


async def test_one_copy_at_a_time_never_holds_two_and_holds_requests_instead(
    shop: House, clients: Crowd
) -> None:
    desk = Desk(shop, clients, "single")
    version = versions_of(shop).add("single", 2, is_closed=True)
    one = {"copies": "one_at_a_time", **UNCOMPARED}
    async with desk.visits() as visits:
        operation = await desk.release(version, **one, **LONG)
        await shop.holds("single", CLIENTS)
        versions_of(shop).open("single")
        await desk.came_to(operation, "soaking")
        await eventually(lambda: has_met(visits, version), "it answers")
        await desk.ended(await desk.roll_back())
        later = await visits.go_on(time.time())
    assert visits.wrong == []
    assert {visit.reply.warmth for visit in visits} >= {"hit", "joined"}
    assert max(visit.reply.seconds for visit in visits) > LOAD_S
    assert set(later.versions()) == {1}
    assert (await desk.ended(operation))["state"] == "rolled_back"
    await has_held(shop, "single", [set(), {1}, set(), {2}, set(), {1}])


async def test_a_version_that_waits_for_a_person_gets_copies_of_requests_on_canary(
    shop: House, clients: Crowd
) -> None:
    desk = Desk(shop, clients, "approved")
    manual = {"approval": "manual", "soak_s": 0.0, **UNCOMPARED}
    await asyncio.to_thread(shop.admin.steer, "approved", {"mirror": 100})
    async with desk.visits() as visits:
        refused = await desk.release(versions_of(shop).add("approved", 2), **manual)
        await desk.came_to(refused, "awaiting")
        await eventually(lambda: is_mirrored(shop, "approved", 2), "canary gets copies")
        await desk.ended(await desk.do("abort", refused))
        version = versions_of(shop).add("approved", 3)
        approved = await desk.release(version, **manual)
        await desk.came_to(approved, "awaiting")
        assert await desk.serving() == (1, [1])
        await desk.do("promote", approved)
        release = await desk.ended(approved)
        await eventually(lambda: has_met(visits, version), "it answers")
    assert visits.wrong == []
    assert visits.versions().keys() == {1, 3}
    assert release["state"] == "done"
    asked = next(step for step in release["steps"] if step["state"] == "promoting")
    assert asked["actor"] == "api"
    assert "approved" in asked["note"]
    before = await desk.seen(refused)
    assert (before["state"], before["rejected"]) == ("refused", False)


async def test_recorded_requests_are_asked_and_what_is_redacted_is_nowhere(
    shop: House, clients: Crowd
) -> None:
    desk = Desk(shop, clients, "recorded")
    secret, asked = "a-secret-of-a-client", 20
    said = {"percent": 100, "redact": ["token"]}
    await asyncio.to_thread(shop.admin.record, "recorded", said)
    await eventually(lambda: is_recording(shop, "recorded"), "the gateway copies requests")
    for number in range(asked // 2):
        x = (100.0 + number, 0.5)
        for reply in (
            await asyncio.to_thread(over_http, shop.http, *with_token("recorded", x, secret)),
            await asyncio.to_thread(
                over_grpc,
                shop.grpc,
                "ModelInfer",
                message_with_token("recorded", x[::-1], secret),
            ),
        ):
            assert reply.code in (200, "OK"), reply
        # Of more than a few at once, some copies would be dropped.
        await keeps(shop, "recorded", 2 * number + 2)
    version = versions_of(shop).add("recorded", 2)
    comparing = {"outputs": "equal", "latency_margin": None, "soak_s": 0.0}
    release = await desk.ended(await desk.release(version, **comparing))
    assert release["state"] == "done", release["reason"]
    (promoted,) = [step for step in release["steps"] if step["state"] == "promoting"]
    (answers,) = [each for each in promoted["evidence"] if each["check"] == "answers"]
    assert answers["numbers"]["recorded"] == asked
    kept = [path for path in shop.stack.logs.parent.rglob("*") if path.is_file()]
    requests = [path.read_bytes() for path in kept if path.suffix == ".request"]
    assert len(requests) == asked
    assert sum(np.float32([100.0, 0.5]).tobytes() in each for each in requests) == 1
    assert [path for path in kept if secret.encode() in content(path)] == []


async def test_a_newer_version_supersedes_one_that_soaks(shop: House, clients: Crowd) -> None:
    desk = Desk(shop, clients, "superseded")
    second, third = (versions_of(shop).add("superseded", number) for number in (2, 3))
    async with desk.visits() as visits:
        first = await desk.release(second, **LONG, **UNCOMPARED)
        await desk.came_to(first, "soaking")
        with pytest.raises(AdminError, match="409 release_active"):
            await desk.release(third)
        then = await desk.release(third, supersede=True, soak_s=0.0, **UNCOMPARED)
        release = await desk.ended(then)
    assert visits.wrong == []
    assert (release["state"], release["base"]) == ("done", 1)
    assert states(await desk.seen(first))[-2:] == ["rolling_back", "rolled_back"]
    assert await desk.serving() == (third, [third])


async def test_a_soak_that_is_paused_goes_on_watching_but_does_not_end(
    shop: House, clients: Crowd
) -> None:
    desk = Desk(shop, clients, "paused")
    version, soak_s = versions_of(shop).add("paused", 2), 7.0
    async with desk.visits() as visits:
        operation = await desk.release(version, soak_s=soak_s, **UNCOMPARED)
        await desk.came_to(operation, "soaking")
        await desk.do("pause", operation)
        paused = await desk.until(
            operation, lambda seen: seen["soak"]["watched_s"] > soak_s + 1.5, "watched for longer"
        )
        assert (paused["state"], paused["paused_by"]) == ("soaking", "api")
        assert (await desk.serving())[1] == [1, 2]
        await desk.do("resume", operation)
        release = await desk.ended(operation)
    assert visits.wrong == []
    assert release["state"] == "done"


async def test_a_rollback_to_a_version_that_vanished_is_freed_by_an_abort(
    shop: House, clients: Crowd
) -> None:
    desk = Desk(shop, clients, "stuck")
    version = versions_of(shop).add("stuck", 2)
    folder = shop.shelf.store.version("stuck", 1).path
    async with desk.visits() as visits:
        operation = await desk.release(version, **LONG, **UNCOMPARED)
        await desk.came_to(operation, "soaking")
        folder.rename(folder.with_name(".gone"))
        await eventually(lambda: is_known(shop, "stuck", [2]), "the sidecar knows")
        # As long as version 1 is loaded, there is a way back to it.
        waits = "version 1, which is no longer in the store"
        await desk.until(operation, lambda seen: waits in str(seen["waits_for"]), waits)
        await desk.came_to(operation, "soaking")
        await desk.roll_back()
        await desk.came_to(operation, "rolling_back")
        await desk.ended(await desk.do("abort", operation))
        release = await desk.came_to(operation, "done")
        await eventually(lambda: is_alone(desk, version), "the new version serves alone")
    assert visits.wrong == []
    assert "version 2 keeps serving" in release["reason"]


@pytest.fixture(scope="module")
def tight(
    installation: Installation, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Memory for one version, and not for two."""
    home = tmp_path_factory.mktemp("tight")
    versions = Versions(home)
    versions.add("tight", 1, weights_mib=WEIGHTS_MIB)
    budgets = {"cpu": f"{BUDGET_MIB}MiB"}
    policy = {"budgets": budgets, "headroom": 0.0, "canary_apart": True}
    with house(installation, envoy_binary, home / "home", versions, policy=policy) as built:
        yield built


async def test_two_versions_that_do_not_fit_are_refused_with_the_numbers_and_a_price(
    tight: House,
) -> None:
    before = versions_of(tight).held("tight")
    version = versions_of(tight).add("tight", 2, weights_mib=WEIGHTS_MIB)
    async with crowd(tight.http, tight.grpc) as clients:
        desk = Desk(tight, clients, "tight")
        async with desk.visits() as visits:
            release = await desk.ended(await desk.release(version))
    assert visits.wrong == []
    assert states(release) == ["admitted", "refused"]
    assert not release["rejected"]
    assert "tight needs 100.0 MiB on cpu, where " in release["reason"]
    assert "copies: one_at_a_time needs room for one" in release["reason"]
    assert "requests wait" in release["reason"]
    assert versions_of(tight).held("tight") == before


async def test_one_version_at_a_time_fits_where_two_do_not(tight: House) -> None:
    before = versions_of(tight).held("tight")
    version = versions_of(tight).add("tight", 3, weights_mib=WEIGHTS_MIB)
    async with crowd(tight.http, tight.grpc) as clients:
        desk = Desk(tight, clients, "tight")
        async with desk.visits() as visits:
            one = {"copies": "one_at_a_time", "soak_s": 1.0, **UNCOMPARED}
            release = await desk.ended(await desk.release(version, **one))
            await eventually(lambda: has_met(visits, version), "it answers")
    assert visits.wrong == []
    assert release["state"] == "done", release["reason"]
    assert visits.versions().keys() == {1, version}
    await has_held(tight, "tight", [*before, set(), {version}])


async def has_held(shop: House, model: str, expected: list[set[int]]) -> None:
    """A version that is dropped goes a moment after that."""

    async def is_so() -> bool:
        return versions_of(shop).held(model) == expected

    with suppress(AssertionError):
        await eventually(is_so, "the last one has gone")
    assert versions_of(shop).held(model) == expected


def is_share(count: int, share: float, total: int) -> bool:
    return abs(count - share * total) <= DEVIATIONS * math.sqrt(total * share * (1 - share))


async def has_met(visits: Visits, version: int) -> bool:
    return version in visits.versions()


async def is_alone(desk: Desk, version: int) -> bool:
    return await desk.serving() == (version, [version])


async def is_known(shop: House, model: str, versions: list[int]) -> bool:
    found = await asyncio.to_thread(shop.admin.model, model)
    known: list[int] = found["versions"]
    return known == versions


async def is_mirrored(shop: House, model: str, version: int) -> bool:
    url = f"http://127.0.0.1:{shop.stack.canary.http_port}"
    path = f"/v2/models/{model}/versions/{version}/stats"
    reply = await asyncio.to_thread(over_http, url, path)
    (found,) = json.loads(reply.body)["model_stats"]
    return int(found["inference_count"]) > 100


async def is_recording(shop: House, model: str) -> bool:
    found = await asyncio.to_thread(shop.admin.recording, model)
    copied: int = found["copied"]
    return copied == 100


async def keeps(shop: House, model: str, requests: int) -> None:
    """Return when so many requests are recorded."""

    async def are_kept() -> bool:
        found = await asyncio.to_thread(shop.admin.recording, model)
        return bool(found["requests"] == requests)

    await eventually(are_kept, f"{requests} requests are kept")


def content(path: Path) -> bytes:
    """Nothing of a file that has gone meanwhile, such as a journal."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def with_token(model: str, x: tuple[float, float], token: str) -> tuple[str, bytes]:
    tensors = [
        {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": x},
        {"name": "token", "shape": [1, 1], "datatype": "BYTES", "data": [token]},
    ]
    return f"/v2/models/{model}/infer", json.dumps({"inputs": tensors}).encode()


def message_with_token(model: str, x: tuple[float, ...], token: str) -> bytes:
    request = service_pb2.ModelInferRequest.FromString(message(model, x))
    request.inputs.add(name="token", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(len(token).to_bytes(4, "little") + token.encode())
    written: bytes = request.SerializeToString()
    return written
