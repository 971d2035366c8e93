"""Ensembles of the tiny models of `tests.builders`, one after the other, on disk."""

from collections.abc import Mapping

import numpy as np

from contract.intent import Intent
from contract.layout import Store
from contract.manifest import record_files
from contract.samples import GoldenSample, write_golden
from tests.builders import golden_samples, manifest


def publish_chain(
    store: Store,
    name: str,
    parts: Mapping[str, int],
    number: int = 1,
    *,
    factor: float | None = None,
    **intent: object,
) -> None:
    """A version of an ensemble of these models, with the versions that it was built with.

    The golden samples say y = `factor` x: 2 to the power of its steps unless given.
    """
    folder = store.version(name, number)
    folder.path.mkdir(parents=True)
    folder.config.write_text(chain_config(name, tuple(parts)))
    by = np.float32(2 ** len(parts) if factor is None else factor)
    samples = [GoldenSample(each.inputs, {"y": by * each.inputs["x"]}) for each in golden_samples()]
    write_golden(folder.golden, samples)
    written = manifest(name, number, disk_bytes=0, files=record_files(folder.path))
    written = written.model_copy(update={"composing": dict(parts)})
    folder.manifest.write_text(written.model_dump_json())
    wanted = Intent.model_validate({"tier": "cold", **intent})
    store.intent(name).write_text(wanted.model_dump_json())


def chain_config(name: str, parts: tuple[str, ...]) -> str:
    """As the generator writes it: no warm-up, no instances, no versions in the steps."""
    tensors = ["x", *(f"from_{part}" for part in parts[:-1]), "y"]
    steps = "\n".join(
        f'step {{ model_name: "{part}" model_version: -1\n'
        f'  input_map {{ key: "x" value: "{taken}" }}\n'
        f'  output_map {{ key: "y" value: "{given}" }} }}'
        for part, taken, given in zip(parts, tensors, tensors[1:], strict=False)
    )
    return f"""name: "{name}"
platform: "ensemble"
max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: [2] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [2] }}
version_policy {{ latest {{ num_versions: 1 }} }}
ensemble_scheduling {{
{steps}
}}
"""
