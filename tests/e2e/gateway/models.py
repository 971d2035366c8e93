"""Models that tell how often they were loaded, and that load until they are told to end."""

import json
from pathlib import Path

from contract.intent import Intent
from contract.layout import ONNX_MODEL, Store
from contract.manifest import record_files
from tests import builders

WRONG = -1000.0
"""A number that the models refuse."""

_MODEL = """
import os
import time

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        with open({loads!r}, "a") as loads:
            loads.write("loaded\\n")
        self.weights = numpy.ones({weights_mib} * 2**17)
        while os.path.exists({closed!r}):
            time.sleep(0.02)
        if {broken!r}:
            raise RuntimeError({broken!r})

    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(r, "x").as_numpy()) for r in requests]

    def answer(self, x):
        first = float(x.flat[0])
        if first == {wrong}:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("x is wrong"))
        time.sleep(max(0.0, -first))
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", 2 * x)])
"""


class Shelf:
    """A store of models in Python, y = 2 x for an x of any length.

    A request whose first number is negative is answered after so many seconds.
    """

    def __init__(self, home: Path) -> None:
        self.store = Store(home / "store")
        self._home = home

    def publish(
        self,
        name: str,
        *,
        is_closed: bool = False,
        broken: str = "",
        weights_mib: int = 0,
        held_mib: int = 25,
        **intent: object,
    ) -> str:
        """A load of what `is_closed` goes on until `open` is called.

        `broken` is why it does not load; `held_mib` what it holds beside its weights, as its
        manifest says.
        """
        builders.publish(self.store, name)
        folder = self.store.version(name, 1)
        (folder.path / ONNX_MODEL).unlink()
        text = _MODEL.format(
            loads=str(self._loads(name)),
            closed=str(self._closed(name)),
            broken=broken,
            weights_mib=weights_mib,
            wrong=WRONG,
        )
        (folder.path / "model.py").write_text(text)
        if is_closed:
            self._closed(name).touch()
        config = folder.config.read_text().replace('"onnxruntime"', '"python"')
        for tensor in ("x", "y"):
            declared = f'name: "{tensor}" data_type: TYPE_FP32 dims: [2]'
            config = config.replace(declared, declared.replace("[2]", "[-1]"))
        folder.config.write_text(config)
        files = record_files(folder.path)
        manifest = json.loads(folder.manifest.read_text())
        held = (held_mib + weights_mib) * builders.MIB
        manifest["cost"] |= {"private_bytes": held, "peak_bytes": held}
        manifest["files"] = {
            path: {"sha256": record.sha256, "bytes": record.bytes} for path, record in files.items()
        }
        folder.manifest.write_text(json.dumps(manifest))
        wanted = Intent.model_validate({"tier": "cold", **intent})
        self.store.intent(name).write_text(wanted.model_dump_json())
        return name

    def open(self, name: str) -> None:
        """Let its loads end."""
        self._closed(name).unlink()

    def loads(self, name: str) -> int:
        """How often a Triton has begun to load it."""
        path = self._loads(name)
        return len(path.read_text().splitlines()) if path.exists() else 0

    def _closed(self, name: str) -> Path:
        return self._home / f"{name}.closed"

    def _loads(self, name: str) -> Path:
        return self._home / f"{name}.loads"
