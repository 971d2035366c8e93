"""What Envoy says about itself, on a port that only this machine reaches."""

import json
import re
from collections.abc import Iterator, Mapping

import httpx2

from contract.errors import InvalidVersion
from contract.layout import parse_version
from sidecar.adapters.http_client import HttpClient
from sidecar.core.traffic import Answered, Traffic
from sidecar.errors import GatewayLost

TIMEOUT_S = 15.0
_VERSION = re.compile(r'^(\S+)\.version_text: "(.*)"$', re.MULTILINE)
_SERIES = re.compile(r"^envoy_pilotlight_(\w+?)_(requests|ms|open)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Admin(HttpClient):
    """Every method raises GatewayLost when there is no answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__(base_url=url, timeout=TIMEOUT_S)

    async def versions(self) -> Mapping[str, str]:
        """Version of each resource that is in force, by the prefix of its statistics."""
        return dict(_VERSION.findall(await self._get("/stats", type="TextReadouts")))

    async def rejections(self) -> Mapping[str, str]:
        """Why listeners or clusters were rejected, by kind; of others only the log tells."""
        dump = json.loads(await self._get("/config_dump"))
        return {
            config["@type"].rpartition(".")[2]: str(error["details"])
            for config in dump["configs"]
            for error in _errors(config)
        }

    async def traffic(self) -> Mapping[str, Traffic]:
        page = await self._get(
            "/stats/prometheus", filter="^pilotlight_", histogram_buckets="summary"
        )
        return parse_traffic(page)

    async def _get(self, path: str, **query: str) -> str:
        try:
            answer = await self._client.get(path, params=query)
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            raise GatewayLost(
                f"Envoy's admin port at {self._url} does not answer: {error!r}; see its log"
            ) from error
        return answer.text


def parse_traffic(page: str) -> Mapping[str, Traffic]:
    """By model, from the page for Prometheus."""
    answers: dict[str, dict[Answered, int]] = {}
    streams: dict[str, int] = {}
    quantiles: dict[str, dict[str, float]] = {}
    for protocol, kind, text, value in _SERIES.findall(page):
        labels = dict(_LABEL.findall(text))
        model = _first(labels["model"])
        if not model:
            continue
        if kind == "open":
            streams[model] = int(value)
        elif kind == "requests":
            by_kind = answers.setdefault(model, {})
            kind_of_answer = _answered(protocol, labels)
            by_kind[kind_of_answer] = by_kind.get(kind_of_answer, 0) + int(value)
        elif value != "nan" and "quantile" in labels:
            found = quantiles.setdefault(model, {})
            quantile = labels["quantile"]
            found[quantile] = max(float(value), found.get(quantile, 0.0))
    return {
        model: Traffic(
            answers=answers.get(model, {}),
            p50_ms=quantiles.get(model, {}).get("0.5"),
            p99_ms=quantiles.get(model, {}).get("0.99"),
            open_streams=streams.get(model, 0),
        )
        for model in answers.keys() | streams.keys()
    }


def _answered(protocol: str, labels: Mapping[str, str]) -> Answered:
    version, code = _first(labels["version"]), labels["code"]
    return Answered(
        version=_version(version),
        code=code if protocol == "http" else f"grpc:{code}",
        outcome=labels["warmth"],
    )


def _version(text: str) -> int | None:
    try:
        return parse_version(text)
    except InvalidVersion:
        return None


def _first(label: str) -> str:
    """Names of open streams come as lists with one entry: see `filters`."""
    unescaped = label.replace('\\"', '"')
    return unescaped[2:-2] if unescaped.startswith('["') else unescaped


def _errors(node: object) -> Iterator[Mapping[str, object]]:
    if isinstance(node, dict):
        if isinstance(error := node.get("error_state"), dict):
            yield error
        for value in node.values():
            yield from _errors(value)
    elif isinstance(node, list):
        for value in node:
            yield from _errors(value)
