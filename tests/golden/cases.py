"""What the golden configs are rendered from."""

from contract.dtypes import Datatype
from generator import warmup
from generator.reports import GraphTensor
from generator.triton_config import TritonConfig, derive
from tests.unit.generator.entries import entry, sequence


def _output(name: str, *shape: int) -> tuple[GraphTensor, ...]:
    return (GraphTensor(name=name, datatype=Datatype.FP32, shape=shape),)


def _tables_on_cpu() -> TritonConfig:
    model = entry(batching={"preferred": [16, 64], "max_queue_delay_us": 200})
    samples = warmup.plan(model)
    counts = {"b64": 3, "b16": 2, "b1": 99}
    return derive(
        model, target="cpu", outputs=_output("score", -1, 1), samples=samples, counts=counts
    )


def _sequence_on_gpu() -> TritonConfig:
    model = sequence(instances=2, batching={})
    samples = warmup.plan(model)
    return derive(
        model, target="gpu", outputs=_output("taste", -1, -1, 128), samples=samples, counts={}
    )


def _without_batches() -> TritonConfig:
    model = sequence(max_batch_size=0)
    samples = warmup.plan(model)
    return derive(model, target="auto", outputs=_output("taste", 128), samples=samples, counts={})


CONFIGS = {
    "tables_on_cpu": _tables_on_cpu(),
    "sequence_on_gpu": _sequence_on_gpu(),
    "without_batches": _without_batches(),
}
