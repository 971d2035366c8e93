"""What a `ports.ModelServer` does: one suite for the real tritonserver and for the fake.

Stage folders are written by the real `StageFolder`, from the example's store.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from contract.compare import compare
from contract.config import parse_config
from contract.layout import Store
from contract.manifest import read_manifest
from contract.samples import read_golden
from embedded.process import wait_until
from embedded.triton import TritonServer
from sidecar.adapters.secret_file import SecretFile
from sidecar.adapters.stage import StageFolder
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.fleet import About, VersionState
from sidecar.core.stage_config import stage_config
from sidecar.core.trial import Served
from sidecar.core.wanted import Placement
from sidecar.errors import LockedOut, NotExplicit, Refused, ServerLost
from sidecar.ports import ModelServer
from tests.eventually import eventually
from tests.fakes.triton import FakeTriton
from tests.fixtures.embedded import LIVE_TIMEOUT_S, StartTriton
from tests.fixtures.example import config_of

MODEL = "short_form"
READY, UNAVAILABLE = VersionState.READY, VersionState.UNAVAILABLE
LOAD_S = 60.0
QUERY_S = 30.0


class Process(Protocol):
    """The server as its supervisor sees it."""

    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def executions(self, model: str, version: int) -> int: ...


class RealProcess:
    def __init__(self, server: TritonServer) -> None:
        self._server = server

    def kill(self) -> None:
        self._server.kill()

    def restart(self) -> None:
        self._server.start()
        self._server.wait_live(LIVE_TIMEOUT_S)

    def executions(self, model: str, version: int) -> int:
        """Triton counts one a moment after the requests in it."""
        with triton.InferenceServerClient(self._server.grpc_address) as client:

            def found() -> service_pb2.ModelStatistics:
                return client.get_inference_statistics(model, str(version)).model_stats[0]

            def is_counted() -> bool:
                batches = found().batch_stats
                requests = sum(each.batch_size * each.compute_infer.count for each in batches)
                return bool(requests == found().inference_count)

            assert wait_until(is_counted, LIVE_TIMEOUT_S), found()
            return int(found().execution_count)


class Subject:
    """A server on a stage of its own."""

    def __init__(
        self, server: ModelServer, process: Process, stage: StageFolder, store: Store
    ) -> None:
        self.server = server
        self.process = process
        self.stage = stage
        self.store = store

    async def place(self, *versions: int, model: str = MODEL, warmup: bool = True) -> None:
        """Stage exactly these versions, under the config of the newest."""
        stored = config_of(self.store, model, max(versions))
        config = stage_config(stored, versions=versions, warmup=warmup)
        await self.stage.write(
            model, Placement(versions=versions, lead=max(versions), config=config)
        )

    async def place_endless(self) -> None:
        """Stage version 1 so that its load goes on for hours."""
        config = parse_config(self.store.version(MODEL, 1).config.read_text(), MODEL)
        for sample in config.model_warmup:
            sample.count = 2**31
        text = stage_config(str(config), versions=(1,), warmup=True)
        await self.stage.write(MODEL, Placement(versions=(1,), lead=1, config=text))
        if isinstance(self.process, FakeTriton):
            self.process.may_end_loads.clear()

    async def load(self, *versions: int) -> None:
        await self.place(*versions)
        await self.server.load(MODEL, timeout_s=LOAD_S)

    async def states(self) -> Mapping[int, VersionState]:
        return (await self.server.index())[MODEL]

    async def settled(self, expected: Mapping[int, VersionState]) -> None:
        async def is_there() -> bool:
            return await self.states() == expected

        await eventually(is_there, f"the index says {expected}")

    async def served(self, expected: Mapping[str, Mapping[int, int]]) -> None:
        """Triton counts a request a moment after it answered."""

        async def is_counted() -> bool:
            return await self.server.requests_served() == expected

        await eventually(is_counted, f"the statistics say {expected}")

    async def warmed(self, *versions: int) -> None:
        """Return when all that is counted are the requests of their warm-up."""
        await self.served({MODEL: {each: warm_up_requests(self, each) for each in versions}})

    async def query(self, version: int) -> None:
        """Every golden sample, answered within the tolerance that the manifest states."""
        folder = self.store.version(MODEL, version)
        limits = read_manifest(folder.manifest).tolerances
        for sample in read_golden(folder.golden):
            got = await self.server.infer(MODEL, version, sample.inputs, timeout_s=QUERY_S)
            wrong = [found.reason for found in compare(got, sample.outputs, limits)]
            assert wrong == [None] * len(sample.outputs)


StartSubject = Callable[..., Awaitable[Subject]]


@pytest.fixture(
    params=[
        "fake",
        pytest.param("real", marks=[pytest.mark.triton, pytest.mark.timeout(300)]),
    ]
)
async def start(
    request: pytest.FixtureRequest, tmp_path: Path, example_store: Path
) -> AsyncIterator[StartSubject]:
    """`await start(control_mode="none")`: a server on an empty stage."""
    store, root = Store(example_store), tmp_path / "stage"
    root.mkdir()
    stage = StageFolder(root, store)
    async with AsyncExitStack() as stack:

        async def start_fake(**settings: Any) -> Subject:
            fake = FakeTriton(
                root,
                explicit=settings.get("control_mode", "explicit") == "explicit",
                load_s=0.05,
                faults=["load short_form 5: fails 'Internal: onnx runtime error 7: no' x99"],
            )
            stack.callback(lambda: check_violations(fake))
            return Subject(fake, fake, stage, store)

        async def start_real(**settings: Any) -> Subject:
            process: TritonServer = start_triton(root, **settings)
            client = TritonGrpc(name="triton", url=process.grpc_address, admin_key=None)
            await stack.enter_async_context(client)
            return Subject(client, RealProcess(process), stage, store)

        if request.param == "fake":
            yield start_fake
        else:
            start_triton: StartTriton = request.getfixturevalue("start_triton")
            yield start_real


def check_violations(fake: FakeTriton) -> None:
    assert fake.violations == []


@pytest.fixture
async def subject(start: StartSubject) -> Subject:
    return await start()


async def test_a_server_in_explicit_mode_lets_itself_be_driven(subject: Subject) -> None:
    await subject.server.check()

    assert await subject.server.index() == {}


async def test_a_mark_is_listed_as_a_model_and_is_no_part_of_the_stage(subject: Subject) -> None:
    mark = await subject.stage.mark()

    assert mark.of_store
    assert await subject.server.index() == {mark.name: {}}
    assert await subject.stage.read() == {}
    await subject.stage.unmark()
    assert await subject.server.index() == {}


async def test_a_mark_that_leads_nowhere_makes_the_index_an_error(subject: Subject) -> None:
    mark = await subject.stage.mark()
    link = Path(mark.folder) / mark.name
    link.unlink()
    link.symlink_to("../no/store/there")

    with pytest.raises(Refused, match="failed to stat file"):
        await subject.server.index()


async def test_a_model_that_was_never_loaded_is_in_the_index_without_versions(
    subject: Subject,
) -> None:
    await subject.place(1)

    assert await subject.server.index() == {MODEL: {}}


async def test_a_load_serves_exactly_the_staged_versions(subject: Subject) -> None:
    await subject.load(1, 2)

    assert await subject.states() == {1: READY, 2: READY}
    await subject.query(1)
    await subject.query(2)


async def test_versions_come_and_go_while_the_others_are_kept(subject: Subject) -> None:
    """A release and its rollback: {1} -> {1,2} -> {2} -> {1,2} -> {1}."""
    await subject.load(1)
    await subject.query(1)
    queried = warm_up_requests(subject, 1) + golden_samples(subject, 1)
    await subject.served({MODEL: {1: queried}})
    before = subject.process.executions(MODEL, 1)

    await subject.load(1, 2)
    assert await subject.states() == {1: READY, 2: READY}
    assert subject.process.executions(MODEL, 1) == before
    await subject.served({MODEL: {1: queried, 2: warm_up_requests(subject, 2)}})
    second = subject.process.executions(MODEL, 2)
    await asyncio.sleep(0.05)

    await subject.load(2)
    await subject.settled({1: UNAVAILABLE, 2: READY})
    assert subject.process.executions(MODEL, 2) == second

    await subject.load(1, 2)
    assert await subject.states() == {1: READY, 2: READY}
    assert subject.process.executions(MODEL, 2) == second
    await asyncio.sleep(0.05)

    await subject.load(1)
    await subject.settled({1: READY, 2: UNAVAILABLE})
    await subject.query(1)


async def test_requests_are_counted_from_the_load_on_with_those_of_the_warm_up(
    subject: Subject,
) -> None:
    """What is kept in place goes on counting; what is dropped is not counted any more."""
    assert await subject.server.requests_served() == {}
    await subject.load(1)
    await subject.served({MODEL: {1: warm_up_requests(subject, 1)}})

    await subject.query(1)
    counted = warm_up_requests(subject, 1) + golden_samples(subject, 1)
    await subject.served({MODEL: {1: counted}})

    await subject.load(1, 2)
    await subject.served({MODEL: {1: counted, 2: warm_up_requests(subject, 2)}})
    await asyncio.sleep(0.05)

    await subject.load(2)
    await subject.served({MODEL: {2: warm_up_requests(subject, 2)}})


async def test_the_versions_of_one_model_are_counted_with_their_failures(
    subject: Subject,
) -> None:
    """A Python backend tells nobody of failures, and what it is never asked is not counted."""
    with pytest.raises(Refused, match=f"requested model '{MODEL}' is not available"):
        await subject.server.served(MODEL)
    await subject.load(1, 2)
    await subject.query(1)
    sample = read_golden(subject.store.version(MODEL, 2).golden)[0]
    for inputs in ({}, {**sample.inputs, "ids": np.full_like(sample.inputs["ids"], 2**40)}):
        with pytest.raises(Refused):
            await subject.server.infer(MODEL, 2, inputs, timeout_s=QUERY_S)

    expected = {
        1: Served(succeeded=warm_up_requests(subject, 1) + golden_samples(subject, 1)),
        2: Served(succeeded=warm_up_requests(subject, 2) + 1),
    }

    async def is_counted() -> bool:
        return await subject.server.served(MODEL) == expected

    await eventually(is_counted, f"the statistics say {expected}")


async def test_a_reload_counts_requests_from_zero(subject: Subject) -> None:
    await subject.load(1)
    await subject.query(1)
    await asyncio.sleep(0.05)

    await subject.server.unload(MODEL)
    await subject.settled({1: UNAVAILABLE})
    await subject.served({})

    await subject.place(1, warmup=False)
    await subject.server.load(MODEL, timeout_s=LOAD_S)
    await subject.served({MODEL: {1: 0}})


def warm_up_requests(subject: Subject, version: int) -> int:
    """Triton makes as many requests of a sample as its batch size says."""
    config = parse_config(config_of(subject.store, MODEL, version), MODEL)
    return sum(sample.batch_size for sample in config.model_warmup)


def golden_samples(subject: Subject, version: int) -> int:
    return len(read_golden(subject.store.version(MODEL, version).golden))


async def test_a_promotion_leaves_no_gap_in_the_answers(subject: Subject) -> None:
    await subject.load(1)
    stop = asyncio.Event()

    async def hammer() -> int:
        answered = 0
        while not stop.is_set():
            await subject.query(1)
            answered += 1
        return answered

    hammering = asyncio.create_task(hammer())
    await subject.load(1, 2)
    stop.set()

    assert await hammering > 0


async def test_a_corrupt_version_is_refused_with_the_backends_text_and_the_old_one_serves_on(
    subject: Subject,
) -> None:
    await subject.load(1)
    await subject.warmed(1)
    before = subject.process.executions(MODEL, 1)

    with pytest.raises(
        Refused,
        match=rf"load failed for model '{MODEL}': version 5 is at UNAVAILABLE state: .*onnx",
    ):
        await subject.load(1, 5)

    assert await subject.states() == {1: READY, 5: UNAVAILABLE}
    assert subject.process.executions(MODEL, 1) == before
    await subject.query(1)


async def test_a_failed_load_is_tried_again_although_nothing_changed(subject: Subject) -> None:
    with pytest.raises(Refused, match="version 5 is at UNAVAILABLE state"):
        await subject.load(5)

    with pytest.raises(Refused, match="version 5 is at UNAVAILABLE state"):
        await subject.server.load(MODEL, timeout_s=LOAD_S)


async def test_one_bad_version_keeps_all_new_ones_out(subject: Subject) -> None:
    await subject.load(1)

    with pytest.raises(Refused, match="version 5 is at UNAVAILABLE state"):
        await subject.load(1, 2, 5)

    states = await subject.states()
    assert states[1] is READY
    assert states[2] is not READY


async def test_a_load_without_a_newer_config_does_nothing(subject: Subject) -> None:
    await subject.load(1)
    await subject.warmed(1)
    before = subject.process.executions(MODEL, 1)

    await subject.server.load(MODEL, timeout_s=LOAD_S)

    assert await subject.states() == {1: READY}
    assert subject.process.executions(MODEL, 1) == before


async def test_a_version_whose_folder_is_missing_is_left_out_without_an_error(
    subject: Subject,
) -> None:
    """That is why an OK of load proves nothing."""
    text = stage_config(
        subject.store.version(MODEL, 1).config.read_text(), versions=(1, 7), warmup=True
    )
    await subject.stage.write(MODEL, Placement(versions=(1,), lead=1, config=text))

    await subject.server.load(MODEL, timeout_s=LOAD_S)

    assert await subject.states() == {1: READY}


async def test_a_model_without_any_listed_version_is_refused(subject: Subject) -> None:
    text = stage_config(
        subject.store.version(MODEL, 1).config.read_text(), versions=(7,), warmup=True
    )
    await subject.stage.write(MODEL, Placement(versions=(1,), lead=1, config=text))

    with pytest.raises(Refused, match="at least one version must be available under the version"):
        await subject.server.load(MODEL, timeout_s=LOAD_S)


async def test_a_config_that_is_none_is_refused_and_the_model_serves_on(subject: Subject) -> None:
    await subject.load(1)
    await subject.stage.write(MODEL, Placement(versions=(1,), lead=1, config="no { config"))

    with pytest.raises(Refused, match=f"failed to load '{MODEL}', failed to poll from model"):
        await subject.server.load(MODEL, timeout_s=LOAD_S)

    assert await subject.states() == {1: READY}


async def test_an_unloaded_model_can_be_cleared_and_loaded_again(subject: Subject) -> None:
    await subject.load(1)
    await asyncio.sleep(0.05)

    await subject.server.unload(MODEL)
    await subject.settled({1: UNAVAILABLE})
    await subject.stage.clear(MODEL)
    assert await subject.server.index() == {}

    await subject.load(1)
    await subject.query(1)


async def test_unloading_what_was_never_loaded_succeeds(subject: Subject) -> None:
    await subject.server.unload("nobody")

    assert await subject.server.index() == {}


async def test_a_version_that_is_not_ready_answers_no_query(subject: Subject) -> None:
    await subject.load(1, 2)
    await asyncio.sleep(0.05)
    await subject.load(1)
    await subject.settled({1: READY, 2: UNAVAILABLE})

    with pytest.raises(
        Refused, match=f"Request for unknown model: '{MODEL}' version 2 is not at ready state"
    ):
        await subject.query(2)
    with pytest.raises(
        Refused, match=f"Request for unknown model: '{MODEL}' version 7 is not found"
    ):
        await subject.server.infer(MODEL, 7, {}, timeout_s=QUERY_S)


async def test_an_unknown_model_answers_no_query(subject: Subject) -> None:
    with pytest.raises(Refused, match="Request for unknown model: 'nobody' is not found"):
        await subject.server.infer(
            "nobody", 1, {"x": np.zeros((1, 1), np.float32)}, timeout_s=QUERY_S
        )


async def test_an_input_that_the_model_does_not_have_is_refused(subject: Subject) -> None:
    await subject.load(1)
    sample = read_golden(subject.store.version(MODEL, 1).golden)[0]

    with pytest.raises(Refused, match=f"expected 2 inputs but got 3 inputs for model '{MODEL}'"):
        await subject.server.infer(
            MODEL, 1, {**sample.inputs, "z": sample.inputs["ids"]}, timeout_s=QUERY_S
        )


async def test_a_load_that_takes_too_long_goes_on_in_the_server(subject: Subject) -> None:
    """So asking again is safe: it waits for the first load and makes no second copy."""
    await subject.place(1)

    with pytest.raises(ServerLost, match="DEADLINE_EXCEEDED"):
        await subject.server.load(MODEL, timeout_s=0.001)
    await subject.server.load(MODEL, timeout_s=LOAD_S)

    assert await subject.states() == {1: READY}
    await subject.query(1)


async def test_a_server_that_is_not_in_explicit_mode_says_so(start: StartSubject) -> None:
    subject = await start(control_mode="none")

    with pytest.raises(NotExplicit, match="--model-control-mode=explicit"):
        await subject.server.check()


async def test_the_same_client_finds_a_dead_server_again_with_nothing_loaded(
    subject: Subject,
) -> None:
    await subject.server.check()
    await subject.load(1)

    subject.process.kill()
    with pytest.raises(ServerLost, match="no answer from triton server"):
        await subject.server.check()
    with pytest.raises(ServerLost, match="no answer from triton server"):
        await subject.query(1)

    subject.process.restart()
    await eventually(lambda: answers(subject.server), "the restarted server answers")
    assert await subject.server.index() == {MODEL: {}}
    await subject.server.load(MODEL, timeout_s=LOAD_S)
    await subject.query(1)


async def answers(server: ModelServer) -> bool:
    try:
        await server.check()
    except ServerLost:
        return False
    return True


async def test_a_load_in_flight_is_lost_with_its_server(subject: Subject) -> None:
    await subject.place_endless()
    loading = asyncio.create_task(subject.server.load(MODEL, timeout_s=LOAD_S))
    await eventually(lambda: is_loading(subject), "the load has begun")

    subject.process.kill()

    with pytest.raises(ServerLost):
        await loading


async def is_loading(subject: Subject) -> bool:
    return bool(await subject.states())


@pytest.mark.triton
@pytest.mark.timeout(60)
async def test_a_wrong_admin_key_is_told_with_what_to_mend_and_the_right_one_is_taken_up(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    server = start_triton(stage, admin_key="right")
    file = tmp_path / "key"
    key = SecretFile(file)
    async with TritonGrpc(name="serving", url=server.grpc_address, admin_key=key) as client:
        with pytest.raises(LockedOut, match=r"the admin key of .* is missing: .*No such file"):
            await client.check()
        file.write_text("wrong")
        with pytest.raises(LockedOut, match=r"protocol is restricted.*of its .* into .*/key,"):
            await client.check()
        file.write_text("right\n")
        assert await client.check() == About(version="2.51.0", is_ready=True)
        assert await client.index() == {}
        file.unlink()
        await client.check()

    async with TritonGrpc(name="serving", url=server.grpc_address, admin_key=None) as client:
        with pytest.raises(LockedOut, match=r"protocol is restricted.*set `admin_key_file` of"):
            await client.check()
