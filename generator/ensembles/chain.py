"""Golden samples of an ensemble: its models, run one after the other in ONNX Runtime.

What goes in comes from the golden samples of the models that take it; that way ids fit their
tables and texts are texts.
"""

from collections.abc import Iterator

from contract.config import parse_config, read_config
from contract.layout import VersionFolder
from contract.samples import GoldenSample, Tensors, read_golden, write_golden
from generator import worker
from generator.checks.sessions import open_session, run
from generator.errors import StageRefused
from generator.reports.chain import ChainJob, ChainReport, Link
from generator.samples.golden import select


def chain(job: ChainJob) -> ChainReport:
    """Write the samples.

    Raises:
        StageRefused: a model fails on what the one before it answers, or no request can be made.
    """
    requests = list(_requests(job))
    if not requests:
        raise StageRefused(
            "the golden samples of its models have no batch size in common up to "
            f"{job.max_batch_size}; give their recipes the same max_batch_size"
        )
    tensors = [dict(request) for request in requests]
    for link in job.links:
        _add_outputs(link, tensors, threads=job.threads)
    samples = select(
        [
            GoldenSample(request, {name: found[name] for name in job.outputs})
            for request, found in zip(requests, tensors, strict=True)
        ]
    )
    write_golden(job.golden, samples)
    return ChainReport(samples=len(samples))


def _requests(job: ChainJob) -> Iterator[Tensors]:
    """One per golden sample of the first model, with samples of the same batch of the others."""
    first, *others = _brought(job)
    for index, sample in enumerate(first):
        batch = _batch(sample)
        if job.max_batch_size == 0:
            matching = [[samples[index % len(samples)]] for samples in others]
        elif batch <= job.max_batch_size:
            matching = [[each for each in samples if _batch(each) == batch] for samples in others]
        else:
            continue
        if all(matching):
            yield sample | {name: array for each in matching for name, array in each[0].items()}


def _brought(job: ChainJob) -> Iterator[list[Tensors]]:
    """What golden samples of models bring for the ensemble's inputs, each from the first taker."""
    missing = set(job.inputs)
    for link in job.links:
        wires = {name: wire for name, wire in link.inputs.items() if wire in missing}
        missing -= set(wires.values())
        if wires:
            yield [
                {wire: sample.inputs[name] for name, wire in wires.items()}
                for sample in read_golden(VersionFolder(link.folder).golden)
            ]


def _batch(sample: Tensors) -> int:
    return int(next(iter(sample.values())).shape[0])


def _add_outputs(link: Link, tensors: list[Tensors], *, threads: int) -> None:
    """One session at a time, so that memory is needed for one model."""
    files = VersionFolder(link.folder)
    config = parse_config(read_config(files.config), str(files.config))
    level = config.optimization.graph.level
    session = open_session(link.folder, threads=threads, graph_level=level)
    for found in tensors:
        given = {name: found[wire] for name, wire in link.inputs.items()}
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in given.items())
        answers = run(session, given, f"{shapes} of {link.label}")
        found.update({wire: answers[name] for name, wire in link.outputs.items()})


if __name__ == "__main__":
    worker.main(chain, ChainJob)
