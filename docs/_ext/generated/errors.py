"""Problem codes of the REST API, and the trees of the packages' errors."""

import contract.errors
import embedded.errors
import generator.errors
import sidecar.errors
from generated.markdown import code, paragraphs, table
from sidecar.api.problems import CODES, problem_type

_PACKAGES = {
    "Sidecar": sidecar.errors,
    "Generator": generator.errors,
    "Store": contract.errors,
    "Embedded servers": embedded.errors,
}


def problem_codes() -> str:
    return table(
        ["Status", "Code", "Meaning", "Type"],
        (
            [str(kind.status), code(name), kind.title, code(problem_type(name))]
            for name, kind in CODES.items()
        ),
    )


def error_trees() -> str:
    """Each package draws its own at the top of its module."""
    return paragraphs(
        *(
            f"### {title}\n\n```text\n{_tree(package.__doc__ or '')}\n```"
            for title, package in _PACKAGES.items()
        )
    )


def _tree(docstring: str) -> str:
    return docstring.split("\n\n")[1].strip("\n")
