"""The gateway, and where it sends the requests for a model."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pilotlight.views import Body
from pilotlight.views.words import NONE, counted, figure, or_none

_AT_CANARY = {"mirror": "canary gets a copy of", "sample": "canary is compared with"}


def traffic_view(body: Body) -> RenderableType:
    """Each version with its said share, its share now, and what was counted of it."""
    counted = {each["version"]: each for each in body["versions"]}
    versions = {int(version) for version in body["said"]["weights"]} | (counted.keys() - {None})
    table = Table(box=None, pad_edge=False)
    table.add_column(escape(body["model"]), no_wrap=True)
    for column in ("said", "now", "requests", "of all"):
        table.add_column(column, no_wrap=True, justify="right")
    for version in [*sorted(versions), *(counted.keys() - versions)]:
        seen = counted.get(version)
        table.add_row(
            "no version named" if version is None else f"version {version}",
            _share(body["said"], version),
            _share(body["effective"], version),
            or_none(seen, lambda each: str(each["requests"])),
            or_none(seen, lambda each: _percent(each["percentage"])),
        )
    lines = [Text(line, "yellow") for line in _not_loaded(body)]
    lines += [Text(line) for line in _said(body["said"], body["effective"])]
    if body["comparison"] is not None:
        lines += [Text(line) for line in _compared(body["comparison"])]
    return Group(table, *lines) if table.row_count else Group(*lines)


def gateway_view(gateway: Body | None) -> RenderableType:
    """Addresses, replicas, counts and what is amiss; None: there is no gateway."""
    if gateway is None:
        return Text("no gateway: clients speak to Triton itself; see `gateway` of the settings")
    table = Table.grid(padding=(0, 2))
    for label, text in _rows(gateway):
        table.add_row(f"[bold]{escape(label)}[/]", escape(text))
    return Group(table, _state(gateway))


def gateway_line(gateway: Body) -> Text:
    waiting = sum(gateway["waiting"].values())
    return Text.assemble(
        f"gateway HTTP {gateway['http']}, gRPC {gateway['grpc']}: "
        f"{counted(gateway['routed_models'], 'model')} routed, {waiting} requests waiting; ",
        _state(gateway),
    )


def _said(said: Body, now: Body | None) -> Iterator[str]:
    """What the shares do not tell."""
    if not said["weights"]:
        yield "requests that name no version meet the one that serves"
    if said["sticky_header"]:
        yield f"requests with the same {said['sticky_header']} meet the same version"
    for name, doing in _AT_CANARY.items():
        if said[name]:
            share = _percent(now[name]) if now else "not known"
            yield f"{doing} {_percent(said[name])} of the requests; now {share}"


def _not_loaded(body: Body) -> Iterator[str]:
    """Which versions get nothing, and what loads them."""
    for version in body["not_loaded"]:
        release = f"pilotlight release {body['model']} {version}"
        yield (
            f"version {version} is not loaded: it gets no request until a release has proven it "
            f"and loaded it beside the one that serves; `{release}`, with --shift and --soak for "
            "shares of its own"
        )


def _compared(comparison: Body) -> Iterator[str]:
    versions = f"versions {comparison['serving']['version']} and {comparison['canary']['version']}"
    yield (
        f"{versions} answered {comparison['compared']} sampled requests, "
        f"{comparison['agreeing']} of them alike"
    )
    for name, found in comparison["outputs"].items():
        if found["reason"] is not None:
            yield f"  {name}: {found['requests'] - found['agreeing']} differ; {found['reason']}"
    for server in ("serving", "canary"):
        side = comparison[server]
        if side["failures"]:
            yield f"  {server} failed {side['failures']} times: {side['failure']}"
    if comparison["missed"]:
        yield f"  not compared: {counts(sum(comparison['missed'].values()), comparison['missed'])}"


def _rows(gateway: Body) -> Iterator[tuple[str, str]]:
    yield "clients", f"HTTP {gateway['http']}, gRPC {gateway['grpc']}"
    for replica in gateway["replicas"]:
        away = "" if replica["joined"] else ", has not joined"
        where = f"HTTP {replica['http']}, gRPC {replica['grpc']}"
        yield f"replica {replica['name']}", f"{counted(replica['models'], 'model')}{away}; {where}"
    yield "requests", counts(gateway["requests"], gateway["by_outcome"])
    yield "waiting", counts(sum(gateway["waiting"].values()), gateway["waiting"])
    yield "streams", f"{gateway['open_streams']} open"


def _state(gateway: Body) -> Text:
    if gateway["problem"] is not None:
        return Text(gateway["problem"], "red")
    return Text("routes in force", "green") if gateway["routed"] else Text("no routes yet", "red")


def counts(total: int, parts: Body) -> str:
    """`4: 1 cold, 3 hit`."""
    each = ", ".join(f"{count} {name}" for name, count in parts.items())
    return f"{total}: {each}" if each else str(total)


def _share(steering: Body | None, version: int | None) -> str:
    weights = steering["weights"] if steering else {}
    weight = weights.get(str(version), 0)
    return _percent(100 * weight / sum(weights.values())) if weight else NONE


def _percent(value: float) -> str:
    return f"{figure(value)} %"
