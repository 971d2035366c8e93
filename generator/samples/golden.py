"""Which verification cases travel with a version."""

from collections.abc import Sequence

from contract.samples import GoldenSample
from generator.samples.shapes import spread

_MAX_SAMPLES = 6
# A sidecar sends them through the server at each release: small, but not only the smallest.
_MAX_SAMPLE_BYTES = 1 << 20


def select(cases: Sequence[GoldenSample]) -> list[GoldenSample]:
    """At most six cases up to 1 MiB, spread over their sizes; the smallest in any case."""
    ordered = sorted(cases, key=_bytes)
    small = [case for case in ordered if _bytes(case) <= _MAX_SAMPLE_BYTES]
    return spread(small or ordered[:1], _MAX_SAMPLES)


def _bytes(case: GoldenSample) -> int:
    return sum(array.nbytes for array in (*case.inputs.values(), *case.outputs.values()))
