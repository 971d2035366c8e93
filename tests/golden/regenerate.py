"""Write the golden configs again; read the difference before you keep it."""

from pathlib import Path

from generator.config.render import render
from tests.golden.cases import CONFIGS

if __name__ == "__main__":
    for name, config in CONFIGS.items():
        Path(__file__).with_name(f"{name}.pbtxt").write_text(render(config))
