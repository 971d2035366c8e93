"""What needs a GPU: `make test-gpu`, and nothing else, runs it."""

from pathlib import Path

import pytest
import yaml

from contract.layout import Store
from generator.build import build

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / ".pilotlight/gpu"
# Where a Triton that is to serve the result finds it.
STORE = _FOLDER / "store"
FORMATS = {
    "half": "onnx-fp16",
    "accelerated": {"kind": "onnx-tensorrt", "precision": "fp16", "cache_dir": str(_FOLDER)},
    "plan": {"kind": "tensorrt", "precision": "fp16"},
    "exact-plan": "tensorrt",
}


@pytest.fixture(scope="session")
def store() -> Store:
    """The example's encoder in every format that a GPU serves."""
    example = _ROOT / "examples/recommender/models.yaml"
    recipe = yaml.safe_load(example.read_text())
    encoder = next(model for model in recipe["models"] if model["name"] == "long_form")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    (_FOLDER / "long_form.py").write_text((example.parent / "long_form.py").read_text())
    models = [encoder | {"name": name, "format": said} for name, said in FORMATS.items()]
    path = _FOLDER / "models.yaml"
    path.write_text(yaml.safe_dump(recipe | {"target": "gpu", "models": models}))
    report = build(path, STORE, jobs=1, report=lambda _: None)
    assert not report.failed
    return Store(STORE)
