"""What two answers to the same request have in common, and many of them together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from contract.compare import compare
from contract.samples import Tensors

KEPT_ERRORS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one server made of a request; with a `failure` there are no outputs."""

    latency_ms: float
    outputs: Tensors = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one answer to a request differs from the expected one in one output.

    `scaled_error` and `reason` are those of `contract.compare`. `rows` are the vectors along the
    last dimension where that is longer than 1 and the output a float; `same_top` those whose
    largest element is at the same place.
    """

    output: str
    scaled_error: float
    reason: str | None
    rows: int
    same_top: int


def findings(expected: Answer, got: Answer, limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """One for each expected output; none when one of the two has failed.

    `limits` are scaled errors per output, as in a manifest.
    """
    if expected.failure is not None or got.failure is not None:
        return ()
    found = []
    for difference in compare(got.outputs, expected.outputs, limits):
        rows, same_top = _tops(
            expected.outputs[difference.output], got.outputs.get(difference.output)
        )
        found.append(
            Finding(
                output=difference.output,
                scaled_error=difference.scaled_error,
                reason=difference.reason,
                rows=rows,
                same_top=same_top,
            )
        )
    return tuple(found)


def _tops(expected: NDArray[np.generic], got: NDArray[np.generic] | None) -> tuple[int, int]:
    if expected.dtype.kind != "f" or expected.ndim == 0 or expected.shape[-1] <= 1:
        return 0, 0
    rows = expected.size // expected.shape[-1]
    if got is None or got.shape != expected.shape:
        return rows, 0
    return rows, int(np.sum(expected.argmax(axis=-1) == got.argmax(axis=-1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of one output, over all requests that both servers answered.

    `agreeing` are the requests within the manifest's tolerance. `largest_error` is scaled, and
    infinite where more than numbers differs: a shape, a type, NaN. Of these there are
    `not_comparable`; `errors` are the latest `KEPT_ERRORS` of the others. `reason` is of the last
    request that did not agree.
    """

    requests: int = 0
    agreeing: int = 0
    largest_error: float = 0.0
    reason: str | None = None
    rows: int = 0
    same_top: int = 0
    not_comparable: int = 0
    errors: tuple[float, ...] = ()

    def with_(self, found: Finding) -> "Agreement":
        return Agreement(
            requests=self.requests + 1,
            agreeing=self.agreeing + (found.reason is None),
            largest_error=max(self.largest_error, found.scaled_error),
            reason=found.reason or self.reason,
            rows=self.rows + found.rows,
            same_top=self.same_top + found.same_top,
            not_comparable=self.not_comparable + (not isfinite(found.scaled_error)),
            errors=(*self.errors, *filter(isfinite, [found.scaled_error]))[-KEPT_ERRORS:],
        )
