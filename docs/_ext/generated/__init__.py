"""Reference pages are written from the code at each build.

A page says where: a line `<!-- generated: settings -->` is replaced by what the function of
that name in `PARTS` returns.
"""

import functools
import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from generated.commands import commands, common_options, exit_codes
from generated.errors import error_trees, problem_codes
from generated.lint import lint_rules
from generated.metrics import event_names, metrics
from generated.releases import config_fields, releases
from generated.rest import bodies, operations
from generated.sections import recipe, settings

PARTS = {
    "commands": commands,
    "common options": common_options,
    "exit codes": exit_codes,
    "lint rules": lint_rules,
    "settings": settings,
    "recipe": recipe,
    "operations": operations,
    "bodies": bodies,
    "problem codes": problem_codes,
    "error trees": error_trees,
    "metrics": metrics,
    "events": event_names,
    "releases": releases,
    "config fields": config_fields,
}
_PLACE = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


@functools.cache
def part(name: str) -> str:
    return PARTS[name]()


def _fill(_app: Sphinx, _docname: str, source: list[str]) -> None:
    source[0] = _PLACE.sub(lambda place: part(place[1]), source[0])


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
