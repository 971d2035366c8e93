"""Memory of a Triton anywhere, by its Prometheus metrics."""

from collections.abc import Mapping, Sequence

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from sidecar.adapters.http_client import HttpClient
from sidecar.core.memory import CPU, Device, Reading
from sidecar.errors import MeterFailed

TIMEOUT_S = 5.0
GPU_TOTAL, GPU_USED = "nv_gpu_memory_total_bytes", "nv_gpu_memory_used_bytes"
CPU_TOTAL, CPU_USED = "nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes"
_MEMORY = (GPU_TOTAL, GPU_USED, CPU_TOTAL, CPU_USED)

Figures = dict[str, dict[str, int]]
"""Metric to UUID to bytes; the metrics of the CPU have the UUID ''."""


class MetricsMeter(HttpClient):
    """A `ports.MemoryMeter` of whole devices: what the server itself uses of them is not told.

    Triton looks every 2 s (--metrics-interval-ms), so a figure may be that old. `cpu` is the
    whole machine, whatever limit its container has.

    A GPU is told by its UUID, without its number, and in any order. `gpu:0` is the first of
    `gpu_uuids`, which matters as soon as a config names GPUs by number; GPUs that are not in
    there follow in the order of their UUIDs.
    """

    def __init__(self, url: str, *, gpu_uuids: Sequence[str] = ()) -> None:
        """`url` is that of the page, such as `http://triton:8002/metrics`."""
        self._url = url
        self._gpu_uuids = tuple(gpu_uuids)
        super().__init__(timeout=TIMEOUT_S)

    async def read(self) -> dict[Device, Reading]:
        figures = _parse(await self._page())
        readings = self._readings(figures)
        if not readings:
            raise MeterFailed(
                f"{self._url} tells nothing about memory (yet, within 2 s of Triton's start); it "
                "must be Triton's metrics page, and GPUs need --allow-gpu-metrics=true, the "
                "machine --allow-cpu-metrics=true"
            )
        return readings

    async def _page(self) -> str:
        try:
            answer = await self._client.get(self._url)
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            raise MeterFailed(
                f"no metrics at {self._url}: {error!r}; start Triton with "
                "--allow-metrics=true, and compare --metrics-port"
            ) from error
        return answer.text

    def _readings(self, figures: Figures) -> dict[Device, Reading]:
        gpus = _devices(figures[GPU_TOTAL], figures[GPU_USED])
        order = [*self._gpu_uuids, *sorted(gpus.keys() - self._gpu_uuids)]
        readings = {
            f"gpu:{number}": gpus[uuid] for number, uuid in enumerate(order) if uuid in gpus
        }
        for machine in _devices(figures[CPU_TOTAL], figures[CPU_USED]).values():
            readings[CPU] = machine
        return readings


def _devices(totals: Mapping[str, int], used: Mapping[str, int]) -> dict[str, Reading]:
    """Those of which both is told; until Triton has looked once, each total is 0."""
    return {
        uuid: Reading(capacity_bytes=total, used_bytes=used[uuid])
        for uuid, total in totals.items()
        if total and uuid in used
    }


def _parse(page: str) -> Figures:
    # The page has ten lines for each version of each model; few are about memory.
    lines = [line for line in page.splitlines() if line.startswith(_MEMORY)]
    figures: Figures = {name: {} for name in _MEMORY}
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for sample in family.samples:
            figures[sample.name][sample.labels.get("gpu_uuid", "")] = int(sample.value)
    return figures
