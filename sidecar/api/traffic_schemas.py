"""What goes over the wire about the gateway and the requests that it answers."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from math import isfinite
from typing import Self

from pydantic import BaseModel

from sidecar.api.front import Front
from sidecar.core.agreement import Agreement
from sidecar.core.comparison import Comparison, Side
from sidecar.core.fleet import Server
from sidecar.core.routing import Replica, Routes
from sidecar.core.steering import Steering
from sidecar.core.traffic import Answered, Traffic
from sidecar.runtime.activate import Waiting
from sidecar.runtime.gateway_gauges import is_up, routed_models, waiting_requests
from sidecar.runtime.route import Router


class TrafficBody(BaseModel):
    """Requests for inference that the gateway has answered since it was started.

    `by_code` has HTTP codes, and `grpc:` with those of gRPC. `by_outcome` tells `hit` from `cold`
    and `joined`. The percentiles are of lately, and null when nothing was asked.
    """

    requests: int
    by_code: dict[str, int]
    by_outcome: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    open_streams: int

    @classmethod
    def of(cls, traffic: Traffic) -> Self:
        return cls(
            requests=traffic.requests,
            by_code=_sums((kind.code, count) for kind, count in traffic.answers.items()),
            by_outcome=_by_outcome(traffic.answers),
            p50_ms=traffic.p50_ms,
            p99_ms=traffic.p99_ms,
            open_streams=traffic.open_streams,
        )


class VersionTraffic(BaseModel):
    """Of one version, and its share of the model's requests.

    `version` is null for requests that named none and were not shared among versions: they met
    the one that serves.
    """

    version: int | None
    requests: int
    percentage: float


class SideBody(BaseModel):
    """One server's part of a comparison; `median_ms` is of its latest answers."""

    version: int
    answers: int
    failures: int
    failure: str | None
    median_ms: float | None

    @classmethod
    def of(cls, side: Side) -> Self:
        return cls(
            version=side.version,
            answers=side.answers,
            failures=side.failures,
            failure=side.failure,
            median_ms=side.median_ms,
        )


class AgreementBody(BaseModel):
    """One output. `agreeing` requests are within the manifest's tolerance.

    `largest_error` is scaled, and null where more than numbers differs. `same_top` is the share
    of vectors whose largest element is at the same place; null where there are no vectors.
    """

    requests: int
    agreeing: int
    largest_error: float | None
    reason: str | None
    same_top: float | None

    @classmethod
    def of(cls, found: Agreement) -> Self:
        return cls(
            requests=found.requests,
            agreeing=found.agreeing,
            largest_error=found.largest_error if isfinite(found.largest_error) else None,
            reason=found.reason,
            same_top=found.same_top / found.rows if found.rows else None,
        )


class ComparisonBody(BaseModel):
    """What serving and canary made of the same sampled requests.

    `compared` were answered by both, `agreeing` with every output within its tolerance. `missed`
    are samples that could not be compared, by why.
    """

    serving: SideBody
    canary: SideBody
    compared: int
    agreeing: int
    outputs: dict[str, AgreementBody]
    missed: dict[str, int]
    unreadable: str | None

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        return cls(
            serving=SideBody.of(comparison.sides[Server.SERVING]),
            canary=SideBody.of(comparison.sides[Server.CANARY]),
            compared=comparison.compared,
            agreeing=comparison.agreeing,
            outputs={
                name: AgreementBody.of(found) for name, found in sorted(comparison.outputs.items())
            },
            missed={why.value: count for why, count in sorted(comparison.missed.items())},
            unreadable=comparison.unreadable,
        )


class SteeringBody(BaseModel):
    """`said` is what was asked for; without a change each request meets the serving version.

    `effective` is what the gateway does: of the versions, those that answer; no mirror or sample
    unless canary holds the model. It follows what was said within moments, and is null until
    the gateway has taken up routes. `not_loaded` are versions with a weight that get no request
    until a release has loaded them beside the one that serves. `comparison` is null before the
    first sample.
    """

    model: str
    said: Steering
    effective: Steering | None
    not_loaded: list[int]
    versions: list[VersionTraffic]
    comparison: ComparisonBody | None

    @classmethod
    def of(
        cls,
        model: str,
        said: Steering,
        routes: Routes | None,
        *,
        loadable: Collection[int],
        traffic: Traffic,
        comparison: Comparison | None,
    ) -> Self:
        """`routes` are those in force; `loadable` versions answer, or do when they are asked."""
        return cls(
            model=model,
            said=said,
            effective=None if routes is None else _effective(routes, model, said),
            not_loaded=sorted(
                version
                for version, weight in said.weights.items()
                if weight and version not in loadable
            ),
            versions=_by_version(traffic),
            comparison=None if comparison is None else ComparisonBody.of(comparison),
        )


class RoutedReplica(BaseModel):
    """One Triton behind the gateway, and for how many models it answers."""

    name: str
    http: str
    grpc: str
    joined: bool
    models: int

    @classmethod
    def of(cls, replica: Replica) -> Self:
        return cls(
            name=replica.name,
            http=replica.http,
            grpc=replica.grpc,
            joined=replica.joined,
            models=len(replica.models),
        )


class GatewayBody(BaseModel):
    """`http` and `grpc` are where clients connect.

    `routed` is whether the gateway has taken up what it was told; `problem` why not. `replicas`
    are those that it sends requests to, `routed_models` the models that one of them answers for.
    Requests are counted since it was started. `waiting` is how many requests wait now, by model.
    """

    http: str
    grpc: str
    routed: bool
    problem: str | None
    replicas: list[RoutedReplica]
    routed_models: int
    requests: int
    by_outcome: dict[str, int]
    open_streams: int
    waiting: dict[str, int]

    @classmethod
    def of(cls, front: Front, router: Router, waiting: Waiting, traffic: Iterable[Traffic]) -> Self:
        routes = router.applied
        answers = Counter[Answered]()
        open_streams = 0
        for seen in traffic:
            answers.update(seen.answers)
            open_streams += seen.open_streams
        return cls(
            http=front.http,
            grpc=front.grpc,
            routed=is_up(router),
            problem=router.problem,
            replicas=[RoutedReplica.of(each) for each in routes.replicas] if routes else [],
            routed_models=len(routed_models(routes)),
            requests=answers.total(),
            by_outcome=_by_outcome(answers),
            open_streams=open_streams,
            waiting=waiting_requests(waiting),
        )


class GatewayState(BaseModel):
    """`gateway` is null where clients speak to Triton itself."""

    gateway: GatewayBody | None


def _effective(routes: Routes, model: str, said: Steering) -> Steering:
    mirror = routes.mirrors.get(model, 0)
    split = routes.splits.get(model)
    return Steering(
        weights=dict(split.weights) if split else {},
        sticky_header=split.sticky_header if split else None,
        mirror=mirror,
        # What is sampled beyond that is recorded.
        sample=min(said.sample, routes.samples.get(model, 0)) if mirror else 0,
    )


def _by_version(traffic: Traffic) -> list[VersionTraffic]:
    """In order; what named none comes last."""
    counts = Counter[int | None]()
    for kind, count in traffic.answers.items():
        counts[kind.version] += count
    return [
        VersionTraffic(
            version=version,
            requests=count,
            percentage=100 * count / max(1, traffic.requests),
        )
        for version, count in sorted(
            counts.items(), key=lambda item: (item[0] is None, item[0] or 0)
        )
    ]


def _by_outcome(answers: Mapping[Answered, int]) -> dict[str, int]:
    return _sums((kind.outcome, count) for kind, count in answers.items())


def _sums(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found = Counter[str]()
    for name, count in counts:
        found[name] += count
    return dict(sorted(found.items()))
