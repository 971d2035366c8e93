"""Copies of requests that Envoy sends here, so that two versions' answers can be compared."""

from typing import Protocol

from sidecar.runtime.compare import Decode

SAMPLE = "x-pilotlight-sample"
"""The header by which a copy is known. Envoy sets it, and takes it off what clients send."""


class Samples(Protocol):
    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        """As `Comparer.offer`."""
