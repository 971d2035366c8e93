"""What was decided, to the text of `config.pbtxt`."""

from pathlib import Path

from google.protobuf import text_encoding  # type: ignore[attr-defined]  # not in the stubs
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from generator.config.passthrough import add_passthrough
from generator.config.triton import TritonConfig

_TEMPLATES = Path(__file__).parents[1] / "templates"


def render(config: TritonConfig) -> str:
    """The text, with what the recipe says in ModelConfig's own language.

    Raises:
        ConfigRefused: that contradicts the rest of the recipe.
    """
    text = print_template("config.pbtxt.j2", config=config)
    return add_passthrough(text, config.passthrough, config.name)


def print_template(name: str, **variables: object) -> str:
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
    return environment.get_template(name).render(variables)


def _quote(text: str) -> str:
    return f'"{text_encoding.CEscape(text.encode(), as_utf8=False)}"'
