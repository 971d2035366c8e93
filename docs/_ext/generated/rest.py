"""The REST API, from its OpenAPI document."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from generated.asked import document
from generated.markdown import code, paragraphs, table
from generated.schema import Definitions, Schema, reference
from sidecar.api.idempotency import HEADER

_EVERYWHERE = ("400", "401", "403", "500")
"""Any call under /v1 may be answered with these, which the page says once."""
_NOT_OURS = ("HTTPValidationError", "ValidationError")
"""FastAPI's own error bodies, which our problems have taken the place of."""


def operations() -> str:
    """Every call, by what it is about."""
    told = document()
    known = _definitions(told)
    by_tag: dict[str, list[str]] = defaultdict(list)
    for path, item in told["paths"].items():
        for method, operation in item.items():
            title = f"### `{method.upper()} {path}`"
            by_tag[operation["tags"][0]].append(paragraphs(title, _told(operation, known)))
    return paragraphs(
        *(paragraphs(f"## {tag.capitalize()}", *calls) for tag, calls in by_tag.items())
    )


def bodies() -> str:
    """Every object in requests and answers, by name."""
    told = document()
    known = _definitions(told)
    return paragraphs(
        *(
            paragraphs(
                f"({_anchor(name)})=\n### {name}",
                schema.get("description", ""),
                known.keys(schema),
            )
            for name, schema in _objects(told)
        )
    )


def _definitions(told: Mapping[str, Any]) -> Definitions:
    links = {name: f"[{name}](#{_anchor(name)})" for name, _ in _objects(told)}
    return Definitions(told["components"]["schemas"], links)


def _objects(told: Mapping[str, Any]) -> list[tuple[str, Schema]]:
    named = told["components"]["schemas"]
    return [
        (name, schema)
        for name, schema in sorted(named.items())
        if "properties" in schema and name not in _NOT_OURS
    ]


def _anchor(name: str) -> str:
    return f"body-{name.lower()}"


def _told(operation: Mapping[str, Any], known: Definitions) -> str:
    role = [f"Role: {scope}." for each in operation.get("security", []) for scope in each["bearer"]]
    return paragraphs(
        f"**{operation['summary']}.**",
        operation.get("description", ""),
        *role,
        _parameters(operation, known),
        _request(operation, known),
        "\n".join(_answers(operation["responses"], known)),
    )


def _parameters(operation: Mapping[str, Any], known: Definitions) -> str:
    """But for those in the path, and the key that every POST may have."""
    rows = [
        [
            code(each["name"]),
            each["in"],
            known.words(each["schema"]),
            _default(each),
            each.get("description", ""),
        ]
        for each in operation.get("parameters", [])
        if each["in"] != "path" and each["name"] != HEADER
    ]
    return table(["Parameter", "In", "Type", "Default", "Meaning"], rows) if rows else ""


def _default(parameter: Mapping[str, Any]) -> str:
    default = parameter["schema"].get("default")
    if default is None:
        return "required" if parameter["required"] else ""
    return code(default)


def _request(operation: Mapping[str, Any], known: Definitions) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    said = [f"{known.words(each['schema'])} ({kind})" for kind, each in content.items()]
    return f"Body: {', or '.join(said)}." if said else ""


def _answers(responses: Mapping[str, Any], known: Definitions) -> Iterator[str]:
    for status, response in sorted(responses.items()):
        content = response.get("content", {})
        names = {reference(each.get("schema", {})) for each in content.values()}
        if status in _EVERYWHERE or names & set(_NOT_OURS):
            continue
        if "Problem" in names:
            yield f"- {status}: {response['description']}"
        elif names <= {""}:
            yield f"- {status}: {', '.join(content) or 'no body'}"
        else:
            words = [known.words(each["schema"]) for each in content.values()]
            yield f"- {status}: {' or '.join(words)}"
