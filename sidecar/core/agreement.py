"""What two answers to the same request have in common, and many of them together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract.compare import Difference, compare
from contract.samples import Tensors

KEPT_ERRORS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one server made of a request; with a `failure` there are no outputs."""

    latency_ms: float
    outputs: Tensors = field(default_factory=dict)
    failure: str | None = None


class Score(NamedTuple):
    """The one float of an element, as expected and as it came, which may be off by `noise`."""

    expected: float
    got: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Of scores that were put in pairs, each in one of them.

    `pairs` are those whose expected scores are further apart than the noise of both, `same` those
    of them that came in the same order. `odd` still waits for a partner.
    """

    pairs: int = 0
    same: int = 0
    odd: Score | None = None

    def with_(self, later: "Order") -> "Order":
        """With more pairs; the odd ones of both are one more."""
        odd = [each for each in (self.odd, later.odd) if each is not None]
        both = _order(np.reshape(odd, (-1, 3)))
        return Order(
            pairs=self.pairs + later.pairs + both.pairs,
            same=self.same + later.same + both.same,
            odd=both.odd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one answer to a request differs from the expected one in one output.

    `scaled_error` and `reason` are those of `contract.compare`. `rows` are the vectors along the
    last dimension where that is longer than 1 and the output a float; `same_top` those whose
    largest element is at the same place. `order` is of outputs with one float per element.
    """

    output: str
    scaled_error: float
    reason: str | None
    rows: int
    same_top: int
    order: Order = Order()


def findings(
    expected: Answer, got: Answer, limits: Mapping[str, float], *, copies: int = 1
) -> tuple[Finding, ...]:
    """One for each expected output; none when one of the two has failed.

    `limits` are scaled errors per output, as in a manifest. So many rows of the request are
    `copies` of each other, and one witness.
    """
    if expected.failure is not None or got.failure is not None:
        return ()
    found = []
    for difference in compare(got.outputs, expected.outputs, limits):
        wanted, came = expected.outputs[difference.output], got.outputs.get(difference.output)
        rows, same_top = _tops(wanted, came)
        found.append(
            Finding(
                output=difference.output,
                scaled_error=difference.scaled_error,
                reason=difference.reason,
                rows=rows // copies,
                same_top=same_top // copies,
                order=_order(_scores(wanted, came, difference)[::copies]),
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


def _scores(
    expected: NDArray[np.generic], got: NDArray[np.generic] | None, difference: Difference
) -> NDArray[np.float64]:
    """Rows like `Score`, shape (scores, 3): what is finite in floats of shape [batch, 1] or [1]."""
    is_one_each = expected.ndim in {1, 2} and expected.shape[-1] == 1
    if expected.dtype.kind != "f" or not is_one_each:
        return np.empty((0, 3))
    if got is None or not isfinite(difference.scaled_error):
        return np.empty((0, 3))
    both = np.column_stack([expected.ravel(), got.ravel()]).astype(np.float64)
    finite = both[np.isfinite(both).all(axis=1)]
    noise = difference.limit * np.max(np.abs(finite[:, 0]), initial=0.0)
    return np.column_stack([finite, np.full(len(finite), noise)])


def _order(scores: NDArray[np.float64]) -> Order:
    """Of neighbours; `scores` are rows like `Score`, shape (scores, 3)."""
    first, second = scores[:-1:2], scores[1::2]
    expected, got, _ = (first - second).T
    differ = np.abs(expected) > (first + second)[:, 2]
    same = differ & (np.sign(expected) == np.sign(got))
    odd = Score(*scores[-1].tolist()) if len(scores) % 2 else None
    return Order(pairs=int(differ.sum()), same=int(same.sum()), odd=odd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of one output, over all requests that both servers answered.

    `agreeing` are the requests within the manifest's tolerance. `largest_error` is scaled, and
    infinite where more than numbers differs: a shape, a type, NaN. Of these there are
    `not_comparable`; `errors` are the latest `KEPT_ERRORS` of the others. `reason` is of the last
    request that did not agree. `order` has pairs within requests, and of what these left over.
    """

    requests: int = 0
    agreeing: int = 0
    largest_error: float = 0.0
    reason: str | None = None
    rows: int = 0
    same_top: int = 0
    order: Order = Order()
    not_comparable: int = 0
    errors: tuple[float, ...] = ()

    @property
    def has_order(self) -> bool:
        """Whether there are vectors or scores, of which some may agree by chance."""
        return self.rows > 0 or self.order != Order()

    def with_(self, found: Finding) -> "Agreement":
        return Agreement(
            requests=self.requests + 1,
            agreeing=self.agreeing + (found.reason is None),
            largest_error=max(self.largest_error, found.scaled_error),
            reason=found.reason or self.reason,
            rows=self.rows + found.rows,
            same_top=self.same_top + found.same_top,
            order=self.order.with_(found.order),
            not_comparable=self.not_comparable + (not isfinite(found.scaled_error)),
            errors=(*self.errors, *filter(isfinite, [found.scaled_error]))[-KEPT_ERRORS:],
        )
