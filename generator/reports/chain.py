"""Models of an ensemble, run one after the other."""

from pathlib import Path

from generator.reports.message import Message


class Link(Message):
    """A step. `folder` is its model's version; wires are as in the recipe."""

    label: str
    folder: Path
    inputs: dict[str, str]
    outputs: dict[str, str]


class ChainJob(Message):
    """`links` in an order in which they can run; the golden samples go to `golden`.

    `max_batch_size` 0: samples are taken as they are, their first dimension is no batch.
    """

    links: tuple[Link, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    max_batch_size: int
    threads: int
    golden: Path


class ChainReport(Message):
    samples: int
