"""Which models a train takes, and how it goes from one to the next."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from sidecar.api.planning_schemas import ActionBody
from sidecar.core.actions import SaveRelease, SaveTrain
from sidecar.core.driving import drive, in_order, pending
from sidecar.core.fleet import Rejection, Snapshot, StoredModel
from sidecar.core.planner import plan
from sidecar.core.release import Release, ReleaseState, admit
from sidecar.core.strategy import Approval, Strategy
from sidecar.core.train import Car, CarState, Train
from tests.builders import (
    NOW_S,
    POLICY,
    holding,
    model,
    moved,
    quarantine,
    release,
    snapshot,
)
from tests.simulation import chained

S, C = ReleaseState, CarState
MANUAL = Strategy(approval=Approval.MANUAL)


def train(*models: str, at_once: int = 1, **more: object) -> Train:
    """Version 1 serves, 2 is to be released."""
    cars = tuple(Car(model=name, version=2, base=1) for name in models)
    return Train(id="t", actor="ann", at_s=NOW_S, cars=cars, at_once=at_once, **more)  # type: ignore[arg-type]


def seen(*models: str, releases: Iterable[Release] = (), **more: object) -> Snapshot:
    recorded = dict.fromkeys(models, 1)
    stored = [model(name, versions=[1, 2]) for name in models]
    return snapshot(*stored, recorded=recorded, releases=releases, **more)  # type: ignore[arg-type]


def of_train(name: str, state: ReleaseState) -> Release:
    return replace(release(state, of=name), id=f"{name}.2.train-t")


def states(train: Train) -> list[CarState]:
    return [car.state for car in train.cars]


def test_one_release_after_the_other_by_default() -> None:
    fleet = ("a", "b", "c")
    first, begun = drive(train(*fleet), seen(*fleet), NOW_S)
    assert states(first) == [C.GOING, C.WAITING, C.WAITING]
    assert [each.id for each in begun] == ["a.2.train-t"]

    again, begun = drive(first, seen(*fleet, releases=begun), NOW_S)
    assert (again, begun) == (first, ())

    done = of_train("a", S.DONE)
    second, begun = drive(first, seen(*fleet, releases=[done]), NOW_S)
    assert states(second) == [C.DONE, C.GOING, C.WAITING]
    assert second.cars[0].note == done.reason
    assert [each.id for each in begun] == ["b.2.train-t"]


def test_as_many_go_on_at_a_time_as_was_said() -> None:
    fleet = ("a", "b", "c", "d")
    first, begun = drive(train(*fleet, at_once=2), seen(*fleet), NOW_S)
    assert [each.model for each in begun] == ["a", "b"]

    now = seen(*fleet, releases=[of_train("a", S.SOAKING), of_train("b", S.DONE)])
    second, begun = drive(first, now, NOW_S)
    assert states(second) == [C.GOING, C.DONE, C.GOING, C.WAITING]
    assert [each.model for each in begun] == ["c"]


def test_a_release_of_a_train_is_like_any_other() -> None:
    _, begun = drive(train("a", strategy=MANUAL), seen("a"), NOW_S)

    assert begun == (
        admit(
            release_id="a.2.train-t",
            model="a",
            version=2,
            base=1,
            actor="ann",
            at_s=NOW_S,
            strategy=MANUAL,
        ),
    )


@pytest.mark.parametrize("state", [S.REFUSED, S.ROLLED_BACK])
def test_the_first_failure_stops_the_rest_and_what_goes_on_ends_by_itself(
    state: ReleaseState,
) -> None:
    fleet = ("a", "b", "c")
    going, _ = drive(train(*fleet, at_once=2), seen(*fleet), NOW_S)
    failed, other = of_train("a", state), of_train("b", S.SOAKING)

    stopped, begun = drive(going, seen(*fleet, releases=[failed, other]), NOW_S)
    assert states(stopped) == [C.FAILED, C.GOING, C.WAITING]
    assert stopped.stopped == f"a version 2: {state}: {failed.reason}"
    assert (begun, stopped.is_over) == ((), False)

    ended, begun = drive(stopped, seen(*fleet, releases=[failed, of_train("b", S.DONE)]), NOW_S + 9)
    assert states(ended) == [C.FAILED, C.DONE, C.WAITING]
    assert (begun, ended.finished_at_s) == ((), NOW_S + 9)


def test_the_first_of_several_failures_is_the_reason() -> None:
    going, _ = drive(train("a", "b", at_once=2), seen("a", "b"), NOW_S)
    failed = of_train("b", S.REFUSED)
    stopped, _ = drive(going, seen("a", "b", releases=[of_train("a", S.SOAKING), failed]), NOW_S)
    both = [of_train("a", S.ROLLED_BACK), failed]
    ended, _ = drive(stopped, seen("a", "b", releases=both), NOW_S)

    assert ended.stopped == stopped.stopped == f"b version 2: refused: {failed.reason}"
    assert states(ended) == [C.FAILED, C.FAILED]


def test_a_version_that_stays_because_nobody_could_go_back_is_a_failure() -> None:
    going, _ = drive(train("a", "b"), seen("a", "b"), NOW_S)
    stuck = moved(of_train("a", S.ROLLING_BACK), (S.DONE, "aborted by bob; version 2 stays"))

    stopped, begun = drive(going, seen("a", "b", releases=[stuck]), NOW_S)

    assert (stopped.stopped, begun) == ("a version 2: done: aborted by bob; version 2 stays", ())


def test_a_version_that_is_rolled_back_after_its_release_stops_nothing() -> None:
    going, _ = drive(train("a", "b"), seen("a", "b"), NOW_S)
    done, _ = drive(going, seen("a", "b", releases=[of_train("a", S.DONE)]), NOW_S)
    back = moved(of_train("a", S.DONE), (S.RESTORING, "asked"), (S.ROLLING_BACK, "there"))

    later, _ = drive(done, seen("a", "b", releases=[back, of_train("b", S.VERIFYING)]), NOW_S)

    assert later == done


def test_it_ends_with_its_last_release() -> None:
    going, _ = drive(train("a"), seen("a"), NOW_S)
    ended, _ = drive(going, seen("a", releases=[of_train("a", S.DONE)]), NOW_S + 5)

    assert (ended.finished_at_s, ended.stopped) == (NOW_S + 5, None)


@pytest.mark.parametrize(
    ("now", "note"),
    [
        (
            snapshot(model("a", versions=[1]), model("b"), recorded={"a": 1}),
            "version 2 is no longer in the store",
        ),
        (snapshot(model("b"), recorded={"a": 1}), "version 2 is no longer in the store"),
        (
            seen("a", releases=[release(S.SOAKING, of="a", version=3)]),
            "release a.3 of ann goes on",
        ),
        (
            seen("a", rejected={("a", 2): Rejection(at_s=1.0, release="a.2", reason="wrong")}),
            "version 2 was refused in release a.2: wrong",
        ),
        (
            snapshot(model("a", versions=[1, 2]), recorded={"a": 2}),
            "it serves already",
        ),
        (
            snapshot(model("a", versions=[1, 2, 3]), recorded={"a": 3}),
            "version 3 serves, and no longer version 1, for which it was chosen",
        ),
        (
            snapshot(model("a", versions=[1, 2])),
            "none serves, and no longer version 1, for which it was chosen",
        ),
    ],
    ids=["version gone", "model gone", "released", "rejected", "serves", "other base", "no base"],
)
def test_a_model_that_is_not_as_it_was_is_left_alone_and_the_train_goes_on(
    now: Snapshot, note: str
) -> None:
    with_b = replace(
        now,
        models={**now.models, "b": model("b", versions=[1, 2])},
        serving={**now.serving, "b": 1},
    )

    after, begun = drive(train("a", "b"), with_b, NOW_S)

    assert after.cars[0] == Car(model="a", version=2, base=1, state=C.SKIPPED, note=note)
    assert [each.model for each in begun] == ["b"]
    assert after.stopped is None


def test_a_train_of_which_nothing_is_left_ends_at_once() -> None:
    now = snapshot(model("a", versions=[1, 2]), recorded={"a": 2})
    after, begun = drive(train("a"), now, NOW_S)

    assert (states(after), begun, after.finished_at_s) == ([C.SKIPPED], (), NOW_S)


def test_an_unmounted_store_says_nothing() -> None:
    going, _ = drive(train("a", "b"), seen("a", "b"), NOW_S)

    assert drive(going, snapshot(recorded={"a": 1, "b": 1}), NOW_S) == (going, ())


def test_a_stopped_train_begins_nothing() -> None:
    going, _ = drive(train("a", "b"), seen("a", "b"), NOW_S)
    stopped = going.stop("bob asked for it").stop("again")

    waits, begun = drive(stopped, seen("a", "b", releases=[of_train("a", S.SOAKING)]), NOW_S)
    ended, begun_later = drive(waits, seen("a", "b", releases=[of_train("a", S.DONE)]), NOW_S)

    assert (waits.is_over, ended.is_over) == (False, True)
    assert begun == begun_later == ()
    assert ended.stopped == "bob asked for it"


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_release_that_began_before_a_crash_is_known_again(is_stopped: bool) -> None:  # noqa: FBT001
    """The release is recorded, and the sidecar dies before it records the train."""
    before = train("a", "b")
    _, (begun,) = drive(before, seen("a", "b"), NOW_S)
    before = before.stop("bob asked for it") if is_stopped else before

    after, begun_again = drive(before, seen("a", "b", releases=[begun]), NOW_S)

    assert after.cars[0].release == begun.id
    assert (states(after), begun_again) == ([C.GOING, C.WAITING], ())


@pytest.mark.parametrize(
    ("follower", "state", "note"),
    [
        (release(S.ADMITTED, of="a", version=3, base=2), C.DONE, "done, and followed by"),
        (release(S.ADMITTED, of="a", version=3, base=1), C.FAILED, "release a.3 took its place"),
        (None, C.FAILED, "the record of its release is gone"),
    ],
    ids=["after its end", "instead of it", "no record"],
)
def test_a_release_that_was_followed_unseen_tells_its_end_by_the_base_of_the_next(
    follower: Release | None, state: CarState, note: str
) -> None:
    going, _ = drive(train("a", "b"), seen("a", "b"), NOW_S)

    after, _ = drive(going, seen("a", "b", releases=[follower] if follower else []), NOW_S)

    assert after.cars[0].state is state
    assert note in (after.cars[0].note or "")


def test_the_release_is_recorded_before_the_train_and_nothing_is_done_meanwhile() -> None:
    before = train("a")
    after, (begun,) = drive(before, seen("a"), NOW_S)

    planned = plan(seen("a", trains={"t": before}), POLICY, NOW_S)

    assert planned.notes == (SaveRelease(release=begun), SaveTrain(before=before, after=after))
    assert planned.work == ()
    said = ActionBody.of(planned.notes[1])
    assert (said.action, said.reason) == ("save_train", "train t: a going")


def test_a_train_that_need_not_move_is_not_recorded() -> None:
    going, begun = drive(train("a"), seen("a"), NOW_S)

    planned = plan(seen("a", trains={"t": going}, releases=begun), POLICY, NOW_S)

    assert not [note for note in planned.notes if isinstance(note, SaveTrain)]


def test_the_newest_version_is_taken() -> None:
    stored = model("a", versions=[1, 2, 3])

    assert pending(stored, 1, None, {}) == Car(model="a", version=3, base=1)
    refused = release(S.REFUSED, of="a", version=3)
    assert pending(stored, 1, refused, {}) == Car(model="a", version=3, base=1)


@pytest.mark.parametrize(
    ("serving", "last", "why"),
    [
        (None, None, "a has never served; its first version goes by itself when it is wanted"),
        (2, None, "a serves version 2, and the store has none that is newer"),
        (9, None, "a: version 9 serves, and the store does not have it"),
        (1, release(S.ROLLED_BACK, of="a"), "a: version 2 was rolled back in release a.2"),
    ],
)
def test_what_a_train_does_not_take(serving: int | None, last: Release | None, why: str) -> None:
    found = pending(model("a", versions=[1, 2]), serving, last, {})

    assert isinstance(found, str)
    assert found.startswith(why)


def test_a_refused_version_is_not_taken_again_nor_an_older_one_instead() -> None:
    rejected = {("a", 3): Rejection(at_s=1.0, release="a.3", reason="wrong answers")}

    found = pending(model("a", versions=[1, 2, 3]), 1, None, rejected)

    assert found == "a: version 3 was refused in release a.3: wrong answers"


# Models that have never served.

X = chained("x", {1: {"a": 1, "b": 1}})


def first(*models: str, at_once: int = 1) -> Train:
    cars = tuple(Car(model=name, version=1, base=None) for name in models)
    return Train(id="t", actor="ann", at_s=NOW_S, cars=cars, at_once=at_once)


def of_first(name: str, state: ReleaseState, **more: object) -> Release:
    came = release(state, of=name, version=1, base=None, **more)
    return replace(came, id=f"{name}.1.train-t")


def unserved(*models: str, recorded: Iterable[str] = (), **more: object) -> Snapshot:
    """Of each version 1 is stored; `recorded` are those that have served since."""
    stored = [X if name == "x" else model(name) for name in models]
    return snapshot(*stored, recorded=dict.fromkeys(recorded, 1), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "stored", [model("a", tier="hot", versions=[1, 3]), model("a", versions=[3])]
)
def test_one_that_has_never_served_is_taken_in_its_newest_version_where_that_is_asked(
    stored: StoredModel,
) -> None:
    assert pending(stored, None, None, {}, unserved=True) == Car(model="a", version=3, base=None)
    assert "--unserved" in str(pending(stored, None, None, {}))


def test_one_that_serves_is_taken_as_ever() -> None:
    stored = model("a", versions=[1, 2])

    assert pending(stored, 1, None, {}, unserved=True) == Car(model="a", version=2, base=1)
    assert isinstance(pending(stored, 2, None, {}, unserved=True), str)


def test_ensembles_come_after_all_models_and_else_the_order_stays() -> None:
    cars = first("x", "c", "a").cars
    stored = {"a": model("a"), "c": model("c"), "x": X}

    assert [car.model for car in in_order(cars, stored)] == ["c", "a", "x"]


def test_a_release_without_a_base_is_begun() -> None:
    going, (begun,) = drive(first("a"), unserved("a"), NOW_S)

    assert (begun.id, begun.version, begun.base) == ("a.1.train-t", 1, None)
    assert begun.steps[0].note == "version 1 requested by ann; the model has never served"
    assert states(going) == [C.GOING]


def test_one_that_never_served_and_fails_is_noted_and_the_train_goes_on() -> None:
    going, _ = drive(first("a", "b"), unserved("a", "b"), NOW_S)
    failed = of_first("a", S.REFUSED, rejected=True)

    after, begun = drive(going, unserved("a", "b", releases=[failed]), NOW_S)
    assert states(after) == [C.FAILED, C.GOING]
    assert after.cars[0].note == f"refused: {failed.reason}"
    assert [each.model for each in begun] == ["b"]

    both = unserved("a", "b", recorded="b", releases=[failed, of_first("b", S.DONE)])
    ended, _ = drive(after, both, NOW_S + 9)
    assert (ended.stopped, ended.finished_at_s) == (None, NOW_S + 9)


def test_one_that_serves_and_fails_stops_a_train_with_both() -> None:
    mixed = replace(train("a", "b"), cars=(*train("a").cars, *first("b").cars))
    now = replace(seen("a"), models={"a": model("a", versions=[1, 2]), "b": model("b")})
    going, _ = drive(mixed, now, NOW_S)

    failed = {"a": of_train("a", S.REFUSED)}
    ended, begun = drive(going, replace(now, releases=failed), NOW_S)

    assert (states(ended), begun, ended.is_over) == ([C.FAILED, C.WAITING], (), True)


@pytest.mark.parametrize(
    ("now", "note"),
    [
        (unserved("a", recorded="a"), "it serves already"),
        (
            snapshot(model("a", versions=[1, 2]), recorded={"a": 2}),
            "version 2 serves, and no longer none, as when it was chosen",
        ),
        (unserved("a", serving=holding(model("a"), 1)), "somebody else has loaded it"),
        (
            unserved("a", releases=[release(S.VERIFYING, of="a", version=1, base=None)]),
            "release a.1 of ann goes on",
        ),
        (
            unserved("a", quarantine={"a": quarantine()}),
            f"in quarantine: {quarantine()}",
        ),
        (
            unserved(
                "a", releases=[release(S.REFUSED, of="a", version=1, base=None, rejected=True)]
            ),
            "version 1 was refused in release a.1: came to refused; release it by name to try "
            "again",
        ),
    ],
    ids=["serves", "another serves", "loaded", "released", "quarantine", "refused before"],
)
def test_one_that_is_not_as_it_was_any_more_is_left_alone(now: Snapshot, note: str) -> None:
    with_b = replace(now, models={**now.models, "b": model("b")})

    after, begun = drive(first("a", "b"), with_b, NOW_S)

    assert after.cars[0] == Car(model="a", version=1, base=None, state=C.SKIPPED, note=note)
    assert [each.model for each in begun] == ["b"]


def test_what_is_no_fault_of_the_version_is_tried_again() -> None:
    no_room = release(S.REFUSED, of="a", version=1, base=None)
    _, begun = drive(first("a"), unserved("a", releases=[no_room]), NOW_S)
    assert [each.id for each in begun] == ["a.1.train-t"]

    of_older = quarantine(newest=0)
    _, begun = drive(first("a"), unserved("a", quarantine={"a": of_older}), NOW_S)
    assert [each.id for each in begun] == ["a.1.train-t"]


def test_an_ensemble_waits_for_its_models_and_takes_no_turn_meanwhile() -> None:
    """Also for those that begin at the same look, and for releases of others."""
    fleet = ("a", "b", "x", "y")
    y = chained("y", {1: {"c": 1}})
    now = replace(
        unserved("a", "b", "x", "c", recorded="c"),
        models={**unserved("a", "b", "x", "c").models, "y": y},
    )
    going, begun = drive(first(*fleet, at_once=3), now, NOW_S)
    assert states(going) == [C.GOING, C.GOING, C.WAITING, C.GOING]

    of_a, of_b = of_first("a", S.DONE), release(S.SOAKING, of="b", version=1, base=None)
    later = replace(
        now,
        releases={"a": of_a, "b": of_b, "y": of_first("y", S.DONE)},
        serving={"a": 1, "b": 1, "c": 1, "y": 1},
    )
    waits, begun = drive(replace(going, cars=(going.cars[0], *going.cars[2:])), later, NOW_S)
    assert (states(waits), begun, waits.is_over) == ([C.DONE, C.WAITING, C.DONE], (), False)

    done = replace(later, releases={**later.releases, "b": of_first("b", S.DONE)})
    _, begun = drive(waits, done, NOW_S)
    assert [each.model for each in begun] == ["x"]


@pytest.mark.parametrize(
    ("models", "note"),
    [
        (("a", "x"), "b, a model of its steps: it is not in the store; build it, or mend the"),
        (("a", "b", "x"), "b, a model of its steps, has not served; release it first"),
    ],
)
def test_an_ensemble_without_all_its_models_is_left_out(models: tuple[str, ...], note: str) -> None:
    after, begun = drive(first("x"), unserved(*models, recorded="a"), NOW_S)

    assert (states(after), begun) == ([C.SKIPPED], ())
    assert (after.cars[0].note or "").startswith(note)


def test_an_ensemble_of_a_model_that_failed_is_left_out_with_the_reason() -> None:
    going, _ = drive(first("a", "x"), unserved("a", "b", "x", recorded="b"), NOW_S)
    failed = of_first("a", S.REFUSED)

    after, _ = drive(going, unserved("a", "b", "x", recorded="b", releases=[failed]), NOW_S)

    assert (states(after), after.is_over) == ([C.FAILED, C.SKIPPED], True)
    assert after.cars[1].note == (
        f"a, a model of its steps, has not served: refused: {failed.reason}"
    )
