"""What can be told of the pages without running anything."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from typer.main import get_command

from generator.recipe import Recipe
from generator.recipe.source import SOURCES
from pilotlight.cli import app
from sidecar.core.strategy import Strategy
from sidecar.settings import GatewaySettings, Settings
from tests.docs.elsewhere import COMMANDS, PAGES
from tests.docs.pages import ROOT, Block, blocks, commands, pages

SHOWN = {"", "text", "json", "yaml", "python", "console"}
DIRECTIVES = {"{not-run}", "{toctree}", "{include}", "{literalinclude}"}
LACKING = {
    "an empty environment for each page",
    "NVIDIA's image of Triton",
    "a bucket",
    "a GPU",
    "a Kubernetes cluster",
}
MOST_NOT_RUN = 16
TYPED = re.compile(r"\s*(\$ |(pilotlight|make|docker|docker-compose|kubectl|curl|pip) )")
BARE_RECIPE = {
    "triton": "24.10",
    "target": "cpu",
    "models": [
        {
            "name": "m",
            "inputs": [{"name": "x", "dtype": "FP32", "shape": [1]}],
            "outputs": ["y"],
            "max_batch_size": 1,
        }
    ],
}
BARE_SETTINGS = {
    "store": "store",
    "state": "state.sqlite",
    "servers": {"serving": {"grpc": "127.0.0.1:1", "http": "127.0.0.1:2", "stage": "stage"}},
}

ALL = [block for page in pages() for block in blocks(page)]


def of_kind(*kinds: str) -> list[Block]:
    return [block for block in ALL if block.kind in kinds]


def test_every_link_has_a_text_for_who_reads_a_page_as_it_is() -> None:
    assert [page for page in pages() if "[](" in (ROOT / page).read_text()] == []


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    strange = [block.where for block in ALL if block.kind not in SHOWN | DIRECTIVES]
    assert strange == []


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    hidden = [
        f"{block.where}: {line}"
        for block in of_kind("", "text")
        for line in block.text.splitlines()
        if TYPED.match(line)
    ]
    assert hidden == []


def test_what_is_not_run_says_what_is_lacking_and_is_little() -> None:
    left_out = of_kind("{not-run}")
    assert {block.argument for block in left_out} == LACKING
    assert sum(len(commands(block)) for block in left_out) <= MOST_NOT_RUN


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_other_tests_run_occur_there_word_for_word(page: str) -> None:
    files = sorted((ROOT / PAGES[page]).rglob("*.py"))
    code = "\n".join(path.read_text() for path in files)
    words = re.sub(r'"\s*,\s*"', " ", code).replace('compose("', "deploy/bin/compose ")
    told = [each for block in of_kind("console") if block.page == page for each in commands(block)]
    assert [each.text for each in told if each.text not in words] == []


def test_single_commands_that_other_tests_run_occur_there() -> None:
    told = {each.text for block in of_kind("console") for each in commands(block)}
    assert COMMANDS.keys() <= told
    for place in COMMANDS.values():
        assert place.words in (ROOT / place.path).read_text()


@pytest.mark.parametrize("block", of_kind("json"), ids=lambda block: block.where)
def test_json_can_be_read(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of_kind("yaml"), ids=lambda block: block.where)
def test_yaml_is_what_a_recipe_or_the_settings_may_say(block: Block) -> None:
    told = yaml.safe_load(block.text)
    if isinstance(told.get("models"), list):
        models = [
            BARE_RECIPE["models"][0]  # type: ignore[operator]
            | ({} if model.keys() & SOURCES else {"source": "m:create"})
            | model
            for model in told["models"]
        ]
        Recipe.model_validate(BARE_RECIPE | told | {"models": models})
    else:
        Settings.model_validate(BARE_SETTINGS | told)


def spans(program: str) -> Iterator[tuple[str, list[str]]]:
    """The words after it of each such command in running text, and the page."""
    for page in pages():
        for token in MarkdownIt().enable("table").parse((ROOT / page).read_text()):
            for inside in token.children or ():
                if inside.type == "code_inline" and inside.content.startswith(f"{program} "):
                    yield page, shlex.split(inside.content.replace("...", ""))[1:]


def test_commands_in_running_text_exist_with_their_options() -> None:
    known: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    wrong = []
    for page, (name, *words) in spans("pilotlight"):
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        allowed = {"--help"}
        if name in known:
            allowed |= {each for param in known[name].params for each in param.opts}
        elif not name.startswith("-") and name != "COMMAND":
            wrong.append(f"{page}: pilotlight {name}: no such command")
        wrong += [f"{page}: pilotlight {name}: no option {each}" for each in options - allowed]
    assert wrong == []


def test_targets_in_running_text_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    told = {(page, words[0]) for page, words in spans("make")}
    assert {each for each in told if f"\n{each[1]}:" not in makefile} == set()


@pytest.mark.parametrize(
    ("page", "heading", "told"),
    [
        ("docs/gateway.md", "Key of `gateway`", GatewaySettings),
        ("docs/releases.md", "Key", Strategy),
    ],
)
def test_a_table_of_keys_has_those_that_the_code_has(page: str, heading: str, told: Any) -> None:
    text = (ROOT / page).read_text()
    rows = text.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    named = {key for row in rows for key in re.findall(r"`([a-z_]+)[.`]", row.split("|")[1])}
    fields = getattr(told, "model_fields", None) or told.__dataclass_fields__
    assert named == set(fields)


def test_the_pod_on_kubernetes_is_the_one_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    documents = yaml.safe_load_all((ROOT / "docs/howto/kubernetes.yaml").read_text())
    (pod,) = [each["spec"] for each in documents if each["kind"] == "StatefulSet"]
    containers = {each["name"]: each for each in pod["template"]["spec"]["containers"]}
    assert containers.keys() == {"triton", "triton-canary", "sidecar", "gateway"}
    for name in ("triton", "triton-canary"):
        service, container = compose[name], containers[name]
        assert container["args"][2] == as_shipped(service["command"][2]).replace("$$", "$")
        told = {each["name"]: each["value"] for each in container["env"]}
        assert told == {key: str(value) for key, value in service["environment"].items()}
        assert container["image"] == as_shipped(service["image"])
    gateway = compose["gateway"]
    assert containers["gateway"]["image"] == as_shipped(gateway["image"])
    assert containers["gateway"]["command"][2] == as_shipped(gateway["command"][2])


def as_shipped(text: str) -> str:
    """Compose's `${NAME}` and `${NAME:-default}` with what `.env.example` says."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda m: said.get(m[1]) or m[2], text)
