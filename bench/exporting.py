"""What `bench.generator` measures in processes of their own: `python -m bench.exporting WHAT ...`.

`alone RECIPE OUT NAME...`   `torch.onnx.export` and nothing else, of models of a recipe
`hold FILE INSTANCES`        sessions of ONNX Runtime in one process, as instances of Triton are;
                             prints seconds of the first and of all, private bytes of all
`embed FILE OUT`             the same model with its weights in the one file
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from generator.recipe import ModelRecipe, load_recipe
from generator.samples.shapes import Shape
from generator.samples.tensors import draw_batch

OPSET = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["alone", "hold", "embed"])
    parser.add_argument("arguments", nargs="+")
    told = parser.parse_args()
    {"alone": alone, "hold": hold, "embed": embed}[told.what](*told.arguments)


def alone(recipe: str, out: str, *names: str) -> None:
    sys.path.insert(0, str(Path(recipe).parent))
    for model in load_recipe(Path(recipe)).models:
        if model.name in names:
            folder = Path(out) / model.name
            folder.mkdir(parents=True)
            _export(model, folder / "model.onnx")


def _export(model: ModelRecipe, path: Path) -> None:
    import torch  # noqa: PLC0415  (not for those who hold)

    place, _, name = str(model.source).partition(":")
    module = getattr(importlib.import_module(place), name)(**model.args)
    shape = Shape(2, tuple((name, dim.opt) for name, dim in model.dims.items()))
    batch = torch.export.Dim("batch", min=1, max=model.max_batch_size)
    dims = {
        name: torch.export.Dim(name, min=dim.min, max=dim.max) for name, dim in model.dims.items()
    }
    program = torch.onnx.export(
        module,
        tuple(map(torch.from_numpy, draw_batch(model, shape, draw=0).values())),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[spec.name for spec in model.inputs],
        output_names=model.output_names,
        dynamic_shapes=tuple(
            {0: batch}
            | {axis: dims[size] for axis, size in enumerate(spec.shape, 1) if size in dims}
            for spec in model.inputs
        ),
    )
    program.save(path, external_data=True)


def hold(file: str, instances: str) -> None:
    import onnxruntime  # noqa: PLC0415  (after the memory that everything else takes)

    def open_session() -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    before = _private_bytes()
    began_s = time.perf_counter()
    sessions = [open_session()]
    first_s = time.perf_counter() - began_s
    sessions += [open_session() for _ in range(int(instances) - 1)]
    all_s = time.perf_counter() - began_s
    held = _private_bytes() - before
    print(json.dumps({"first_s": first_s, "all_s": all_s, "private_bytes": held}))


def embed(file: str, out: str) -> None:
    import onnx  # noqa: PLC0415  (not for those who hold)

    model = onnx.load(file)
    onnx.save(model, out)


def _private_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("Anonymous:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
