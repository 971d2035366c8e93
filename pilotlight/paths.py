"""Where things are: the example comes with the package, all else goes into the current folder."""

from pathlib import Path

EXAMPLE = (Path(__file__).parent / "example").resolve()
MODEL_REPOSITORY = Path("model_repository")
WORK = Path(".pilotlight")
EMBEDDED = WORK / "embedded"
ENVOY = WORK / "envoy"
ONNXRUNTIMES = WORK / "onnxruntime"
