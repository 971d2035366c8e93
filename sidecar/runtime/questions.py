"""What a trial asks, and in which order."""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from contract.manifest import Manifest
from contract.samples import GoldenSample, Tensors
from sidecar.runtime.warm import shapes_of

UNRACED = 2
"""First answers of a shape after a load find cold caches, and say nothing of later ones."""
AHEAD = UNRACED + 20
"""What the cheapest shape is asked before all grow alike: enough to see what is much slower."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One request, and the `shape` that its latency counts for.

    `expected` is known of golden samples; `is_recorded`: a client has sent it. Its rows are
    `copies` of each other, as those of a warm-up sample are.
    """

    shape: str
    inputs: Tensors
    expected: Tensors | None = None
    is_recorded: bool = False
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question that is to be asked now. `is_raced`: its latency counts."""

    question: Question
    is_first: bool
    is_raced: bool


class Course:
    """Each question once, and then shape by shape, so that no race lags behind.

    Next is the shape that was asked least often. The cheapest one runs ahead at first, so that
    a version which is slower everywhere is found out before its large batches have taken minutes.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self._new = deque(questions)
        self._lanes: dict[str, deque[Question]] = {}
        self._asked: Counter[str] = Counter()
        self._least_ms: dict[str, float] = {}
        self.size = len(self._new)

    @property
    def shapes(self) -> set[str]:
        """Of all that are still asked."""
        return {question.shape for question in self._new} | self._lanes.keys()

    @property
    def unasked(self) -> int:
        return len(self._new)

    def next(self) -> Turn | None:
        """None when nothing is left."""
        if not self._new and not self._lanes:
            return None
        is_first = bool(self._new)
        question = self._new.popleft() if is_first else self._oldest()
        shape = question.shape
        self._lanes.setdefault(shape, deque()).append(question)
        self._asked[shape] += 1
        return Turn(question=question, is_first=is_first, is_raced=self._asked[shape] > UNRACED)

    def took(self, question: Question, latency_ms: float) -> None:
        """What it costs to ask."""
        known_ms = self._least_ms.get(question.shape, latency_ms)
        self._least_ms[question.shape] = min(known_ms, latency_ms)

    def drop(self, question: Question) -> None:
        """Do not ask it again."""
        lane = self._lanes[question.shape]
        lane.remove(question)
        if not lane:
            del self._lanes[question.shape]

    def _oldest(self) -> Question:
        shape = min(self._lanes, key=lambda shape: self._least_ms.get(shape, 0.0))
        if self._asked[shape] >= AHEAD:
            shape = min(self._lanes, key=self._asked.__getitem__)
        return self._lanes[shape].popleft()


def questions(
    manifest: Manifest,
    *,
    golden: Sequence[GoldenSample],
    warm_up: Sequence[Tensors],
    others: Iterable[Tensors] = (),
    recorded: Iterable[Tensors] = (),
) -> list[Question]:
    """Different ones only; those of the version itself, `golden` and `warm_up`, come first.

    A request with the shapes of a warm-up sample counts for that; the others are told apart by
    batch size only, in doubling steps, so that there are few races with many pairs.
    """
    named = dict(zip(map(_form, warm_up), shapes_of(manifest, warm_up), strict=True))
    found: dict[bytes, Question] = {}

    def add(inputs: Tensors, expected: Tensors | None = None, **what: Any) -> None:
        shape = named.get(_form(inputs)) or _by_batch(manifest, inputs)
        question = Question(shape=shape, inputs=inputs, expected=expected, **what)
        found.setdefault(_digest(inputs), question)

    for sample in golden:
        add(sample.inputs, sample.outputs)
    for inputs in warm_up:
        add(inputs, copies=_batch(manifest, inputs) or 1)
    for inputs in others:
        add(inputs)
    for inputs in recorded:
        add(inputs, is_recorded=True)
    return list(found.values())


def _form(inputs: Tensors) -> frozenset[tuple[str, tuple[int, ...]]]:
    return frozenset((name, array.shape) for name, array in inputs.items())


def _by_batch(manifest: Manifest, inputs: Tensors) -> str:
    batch = _batch(manifest, inputs)
    if not batch:
        return "other shapes"
    most = 1 << (batch - 1).bit_length()
    least = most // 2 + 1
    return f"batch {most}" if least >= most else f"batch {least} to {most}"


def _batch(manifest: Manifest, inputs: Tensors) -> int:
    """0 where there is none."""
    if not manifest.signature.max_batch_size:
        return 0
    return max((len(array) for array in inputs.values() if array.ndim), default=0)


def _digest(inputs: Tensors) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(inputs.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        is_text = array.dtype.kind == "O"
        digest.update(repr(array.tolist()).encode() if is_text else array.tobytes())
    return digest.digest()
