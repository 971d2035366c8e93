"""What went wrong, in terms of the author's code."""

import itertools
import re
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch.export import ExportedProgram

from generator.worker import shorten

_TRANSLATED = re.compile(r"Error when translating node .*?\[target=torch\.ops\.(\S+?)\]")
_UNSUPPORTED = "No ONNX function found"
_PYTORCH = str(Path(torch.__file__).parent)
_NOT_THE_AUTHORS = (
    _PYTORCH,
    str(Path(__file__).parents[1]),
    sysconfig.get_path("stdlib"),
    "<frozen ",
)
REWRITE = (
    "rewrite what branches on a tensor's values or fixes a dynamic size (torch.where, torch.cond)"
)

FAULTS = (Exception, SystemExit)
"""What an author's code may raise, the end of a script included. It is always reported."""


def blame(error: BaseException) -> str:
    """What an author's code raised, and the innermost line of it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_AUTHORS)]
    where = _first_line_of_code("".join(traceback.format_list(own[-1:])))
    return f"{type(error).__name__}: {shorten(str(error))}{where}"


def explain(error: BaseException, trace: Callable[[], ExportedProgram]) -> str:
    """Of the pages that PyTorch's exporter fails with: its cause, the line of code, and a remedy.

    `trace` gives the model's program, which knows where each operator comes from.
    """
    operator = None
    while error.__cause__:
        found = _TRANSLATED.search(str(error))
        operator = found[1] if found else operator
        error = error.__cause__
    text = str(error)
    first = next(iter(text.strip().splitlines()), "")
    cause = f"{type(error).__name__}: {shorten(first)}"
    if operator is None:
        return f"{cause}{_first_line_of_code(text)}; {REWRITE}"
    what = "has no counterpart in ONNX"
    if _UNSUPPORTED not in text:
        what = f"cannot be translated to ONNX, {cause}"
    return (
        f"{operator} {what}{_origin(operator, trace())}; compute it from other operators, or "
        "outside of the model"
    )


def _origin(operator: str, program: ExportedProgram) -> str:
    namespace, name, _ = operator.split(".")
    graphs = (program.graph, program.run_decompositions().graph)
    for node in itertools.chain.from_iterable(graph.nodes for graph in graphs):
        target = str(node.target)
        # The exporter makes a `prims.bessel_j0` of what is `aten.special_bessel_j0` here.
        is_made_of_it = namespace == "prims" and target.endswith(f"{name}.default")
        if target == operator or is_made_of_it:
            frames = re.split(r"\n(?=\s*File )", node.meta.get("stack_trace", "").strip())
            # The innermost of the author's: below it are PyTorch's own modules.
            own = [frame for frame in frames if _PYTORCH not in frame] or frames
            return _first_line_of_code(own[-1])
    return ""


def _first_line_of_code(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for place, code in itertools.pairwise(lines):
        if place.startswith('File "'):
            return f" ({place}: {code})"
    return ""
