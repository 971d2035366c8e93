"""TritonConfig to the text of `config.pbtxt`."""

import hashlib
from pathlib import Path

from google.protobuf import text_encoding  # type: ignore[attr-defined]  # not in the stubs
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from generator.triton_config import TritonConfig

_TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


def render(config: TritonConfig) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The output is no HTML; strings go through `pb`.
        autoescape=False,  # noqa: S701
    )
    environment.filters["pb"] = _quote
    return environment.get_template("config.pbtxt.j2").render(config=config)


def templates_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(_TEMPLATES.glob("*.j2")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _quote(text: str) -> str:
    return f'"{text_encoding.CEscape(text.encode(), as_utf8=False)}"'
