"""Model Navigator, for `bench.generator`: an environment of its own, and what it does there.

As a script in that environment, `navigating.py RECIPE OUT`: optimize every model of a recipe for
ONNX Runtime on the CPU and add it to a Triton repository `OUT/repository`, as its documentation
does.
"""

import importlib
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOME = Path(".pilotlight/bench/navigator")
CONSTRAINTS = Path("constraints.txt")
# Without its dependencies: it wants TensorRT's libraries, which are not on the package index,
# CUDA's through nvidia-modelopt, and numpy before 2.
ITSELF = (
    "triton-model-navigator==0.14.0",
    *("attrs", "dacite~=1.8", "fire", "jsonlines", "loguru", "onnx_graphsurgeon~=0.5"),
    *("packaging~=24.1", "polygraphy", "psutil", "py-cpuinfo", "pyee", "pynvml~=11.5"),
    *("python-slugify~=8.0", "pyyaml", "rich", "markdown-it-py", "mdurl", "pygments"),
    *("tabulate", "termcolor", "text-unidecode", "wrapt"),
)
SHARED = ("numpy", "onnx", "onnxruntime-gpu", "onnxscript", "torch", "tritonclient[grpc]")


class NavigatorMissing(Exception):
    """It cannot be installed here; says why."""


def navigator() -> Path:
    """Its Python; the first call installs it, with the same PyTorch and ONNX Runtime as ours.

    Raises:
        NavigatorMissing: pip fails.
    """
    python, done = HOME.absolute() / "bin/python", HOME / "done"
    if not done.exists():
        venv.create(HOME, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for arguments in (("--no-deps", *ITSELF), ("--constraint", str(CONSTRAINTS), *SHARED)):
            ran = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
            if ran.returncode:
                raise NavigatorMissing(ran.stderr.strip()[-500:])
        done.touch()
    return python


def navigate(recipe: Path, out: Path) -> None:
    import model_navigator as nav  # noqa: PLC0415  (there in its environment only)
    import yaml  # noqa: PLC0415

    sys.path.insert(0, str(recipe.parent))
    out.mkdir(parents=True)
    for model in yaml.safe_load(recipe.read_text())["models"]:
        try:
            _navigate_one(nav, model, out)
        # Whatever it raises, the others are tried.
        except Exception as error:  # noqa: BLE001
            print(f"{model['name']}: {type(error).__name__}: {error}", file=sys.stderr)


def _navigate_one(nav: Any, model: dict[str, Any], out: Path) -> None:
    place, _, name = model["source"].partition(":")
    package = nav.torch.optimize(
        model=getattr(importlib.import_module(place), name)(**model.get("args", {})),
        dataloader=list(_samples(model)),
        sample_count=3,
        input_names=tuple(spec["name"] for spec in model["inputs"]),
        output_names=tuple(model["outputs"]),
        target_formats=(nav.Format.ONNX,),
        target_device=nav.DeviceKind.CPU,
        runners=("OnnxCPU",),
        # On a shared machine its own limits are never met, and then it gives no model.
        optimization_profile=nav.OptimizationProfile(
            batch_sizes=[1, model["max_batch_size"]],
            window_size=5,
            stability_percentage=1000.0,
            min_trials=3,
        ),
        workspace=out / "workspace",
    )
    nav.triton.model_repository.add_model_from_package(
        out / "repository", model["name"], package, warmup=True
    )


def _samples(model: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The largest batch at the largest sizes, one at the smallest, and one between."""
    import torch  # noqa: PLC0415  (there in its environment)

    dims = model.get("dims", {})
    for batch, pick in ((model["max_batch_size"], "max"), (1, "min"), (2, "opt")):
        sample = []
        for spec in model["inputs"]:
            shape = (batch, *(dims[s][pick] if s in dims else s for s in spec["shape"]))
            if spec["dtype"] == "FP32":
                sample.append(torch.randn(shape))
            else:
                low, high = spec.get("range", (1, 2))
                sample.append(torch.randint(low, high, shape))
        yield tuple(sample)


# It starts processes that import this file.
if __name__ == "__main__":
    navigate(Path(sys.argv[1]), Path(sys.argv[2]))
