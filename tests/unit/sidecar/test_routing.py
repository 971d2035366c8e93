"""What the gateway is told, by what was seen and said."""

from dataclasses import replace

import pytest

from sidecar.core.fleet import ServerView, Snapshot
from sidecar.core.release import ReleaseState
from sidecar.core.replicas import revision
from sidecar.core.routing import Replica, Routes, Split, is_served, looked_at, routes_of
from sidecar.core.steering import Steering
from sidecar.core.strategy import Strategy
from tests.builders import (
    CANARY,
    READY,
    SERVING,
    UNAVAILABLE,
    failure,
    holding,
    kept,
    model,
    placed,
    release,
    server,
    snapshot,
    unverified,
)
from tests.fakes.gateway import OWN

M, N = model("m", versions=(1, 2)), model("n")


def models(seen: Snapshot, before: str = "") -> set[str]:
    """Those that are routed, when `before` are those until now."""
    own = replace(OWN, models=frozenset(before.split()))
    return set(looked_at(own, seen).models)


def routes(seen: Snapshot, *others: Replica) -> Routes:
    return routes_of(seen, looked_at(OWN, seen), others)


def serving(*views: ServerView, **more: object) -> Snapshot:
    return snapshot(M, N, serving=server(*views), kept=kept("m", "n"), **more)  # type: ignore[arg-type]


# Which models a replica is sent requests for.


def test_a_model_that_is_warmed_and_probed_is_routed() -> None:
    seen = serving(holding(M, 1))

    assert models(seen) == {"m"}
    assert is_served(seen, "m")


def test_a_model_that_is_loaded_but_not_probed_is_not() -> None:
    seen = serving(unverified(holding(M, 1)))

    assert models(seen) == set()
    assert not is_served(seen, "m")


def test_a_model_that_is_probed_but_not_ready_any_more_is_not() -> None:
    gone = replace(holding(M, 1), index={"m": {1: UNAVAILABLE}})

    assert models(serving(gone), before="m") == set()


def test_a_model_that_is_to_go_is_not() -> None:
    seen = snapshot(M, serving=holding(M, 1))

    assert models(seen, before="m") == set()


def test_a_model_that_vanished_from_the_store_serves_on() -> None:
    seen = snapshot(N, serving=holding(M, 1))

    assert models(seen) == {"m"}


def test_a_sidecar_that_was_restarted_routes_what_was_routed_and_is_still_loaded() -> None:
    seen = serving(unverified(holding(M, 1)), unverified(holding(N, 1)))

    assert models(seen, before="m") == {"m"}


def test_what_was_routed_and_fails_its_probe_is_not_routed_any_more() -> None:
    failed = {(SERVING, "m"): failure(placed(M, 1))}
    lost = {(SERVING, "m"): failure(placed(M, 1), lost=True)}
    view = unverified(holding(M, 1))

    assert models(serving(view, failures=failed), before="m") == set()
    assert models(serving(view, failures=lost), before="m") == {"m"}


def test_while_the_server_cannot_be_seen_the_routes_stay() -> None:
    seen = snapshot(M, N, serving=ServerView(problem="no answer"))

    assert models(seen, before="m n") == {"m", "n"}
    assert models(seen) == set()


def test_a_replica_is_asked_where_it_listens() -> None:
    (own,) = routes(serving(holding(M, 1))).replicas

    assert (own.name, own.http, own.grpc) == (OWN.name, OWN.http, OWN.grpc)


# Splits.


def test_weights_are_shared_among_the_versions_that_answer() -> None:
    said = {"m": Steering(weights={1: 95, 2: 5, 3: 50}, sticky_header="x-user")}

    both = routes(serving(holding(M, 1, 2), steering=said))
    one = routes(serving(holding(M, 1), steering=said))

    assert both.splits == {"m": Split(weights={1: 95, 2: 5}, sticky_header="x-user")}
    assert one.splits == {"m": Split(weights={1: 95}, sticky_header="x-user")}


@pytest.mark.parametrize("weights", [{}, {3: 1}, {1: 0, 3: 1}])
def test_without_a_version_that_has_weight_requests_go_as_they_come(
    weights: dict[int, int],
) -> None:
    said = {"m": Steering(weights=weights)}

    assert routes(serving(holding(M, 1, 2), steering=said)).splits == {}


def test_a_model_that_is_not_loaded_has_no_split() -> None:
    said = {"n": Steering(weights={1: 1})}

    assert routes(serving(holding(M, 1), steering=said)).splits == {}


# Mirrors.


def test_a_release_shares_requests_whatever_operators_say_of_the_model() -> None:
    said = {"m": Steering(weights={1: 50, 2: 50})}
    shifting = release(
        ReleaseState.SHIFTING,
        strategy=Strategy(shift=(5,), sticky_header="x-user"),
        share=5,
    )
    both = holding(M, 1, 2)

    seen = serving(both, steering=said, releases=[shifting])
    assert routes(seen).splits == {"m": Split(weights={1: 95, 2: 5}, sticky_header="x-user")}
    over = replace(shifting, state=ReleaseState.SOAKING)
    assert routes(serving(both, releases=[over])).splits == {}


def test_a_release_names_only_what_answers() -> None:
    """While its new version is loaded, the gateway names the old one."""
    promoting = release(ReleaseState.PROMOTING, strategy=Strategy(shift=(5,)))

    seen = serving(holding(M, 1), releases=[promoting])
    assert routes(seen).splits == {"m": Split(weights={1: 100})}


def test_a_mirror_needs_the_model_on_canary() -> None:
    said = {"m": Steering(mirror=25)}
    seen = serving(holding(M, 1), steering=said)
    with_canary = replace(seen, servers={**seen.servers, CANARY: holding(M, 2)})
    loading = replace(holding(M, 2), index={"m": {2: UNAVAILABLE}})

    assert routes(with_canary).mirrors == {"m": 25}
    assert routes(seen).mirrors == {}
    assert routes(replace(seen, servers={**seen.servers, CANARY: loading})).mirrors == {}


def test_a_mirror_of_nothing_is_none() -> None:
    seen = serving(holding(M, 1), canary=holding(M, 2), steering={"m": Steering()})

    assert routes(seen).mirrors == {}


# Models with state.


def test_a_model_that_keeps_state_is_told_apart() -> None:
    plain, keeps = holding(N, 1), holding(M, 1)
    config, _, _ = keeps.staged["m"].partition("dynamic_batching")
    keeps = replace(keeps, staged={"m": f"{config} sequence_batching {{}}"})

    assert routes(serving(plain, keeps)).stateful == {"m"}


# Several replicas.


def other(name: str, *has: str, joined: bool = True) -> Replica:
    return Replica(
        name=name,
        http="o:1",
        grpc="o:2",
        models=frozenset(has),
        stateful=frozenset(),
        joined=joined,
    )


def names(found: Routes) -> list[str]:
    return [replica.name for replica in found.replicas]


def test_requests_go_to_all_that_have_joined() -> None:
    seen = serving(holding(M, 1))

    assert names(routes(seen, other("b"), other("c", joined=False))) == ["own", "b"]


def test_a_replica_joins_when_its_hot_models_are_warm() -> None:
    hot = model("h", tier="hot")
    cold = snapshot(hot, M, serving=holding(M, 1), kept=kept("m"))
    warm = snapshot(hot, M, serving=server(holding(M, 1), holding(hot, 1)), kept=kept("m"))

    assert names(routes(cold, other("b"))) == ["b"]
    assert names(routes(warm, other("b"))) == ["own", "b"]


def test_while_none_has_joined_requests_go_to_all() -> None:
    cold = snapshot(model("h", tier="hot"))

    assert names(routes(cold, other("b", joined=False))) == ["own", "b"]
    assert names(routes(cold)) == ["own"]


def test_a_model_keeps_state_wherever_it_does() -> None:
    seen = serving(holding(M, 1))
    elsewhere = replace(other("b", "s"), stateful=frozenset({"s"}))

    assert routes(seen, elsewhere).stateful == {"s"}


def test_routes_have_what_any_replica_has() -> None:
    found = routes(serving(holding(M, 1)), other("b", "n"))

    assert [found.have(name) for name in ("m", "n", "x")] == [True, True, False]


def test_the_revision_speaks_of_the_models_alone_in_any_order() -> None:
    assert revision(frozenset({"m", "n"})) == revision(frozenset({"n", "m"}))
    assert revision(frozenset({"m", "n"})) != revision(frozenset({"m"}))
    assert revision(frozenset({"ab"})) != revision(frozenset({"a", "b"}))


def test_a_failure_that_is_of_canary_does_not_matter() -> None:
    failed = {(CANARY, "m"): failure(placed(M, 1))}
    seen = serving(unverified(holding(M, 1)), failures=failed)

    assert models(seen, before="m") == {"m"}
    assert seen.servers[SERVING].index["m"] == {1: READY}
