"""Where things are in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".pilotlight"
EMBEDDED = WORK / "embedded"
ENVOY = WORK / "envoy"
EXAMPLE = ROOT / "examples" / "recommender"
MODEL_REPOSITORY = ROOT / "model_repository"
