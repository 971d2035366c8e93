"""What an extra of ours needs, one per line: a layer of its own, which outlives our changes."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("/pyproject.toml").read_text())["project"]
extra = project["optional-dependencies"][sys.argv[1]]
sys.stdout.write("\n".join([*project["dependencies"], *extra]))
