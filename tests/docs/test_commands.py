"""What the pages tell a reader to type is typed, and shows what they say."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from contract.layout import Store
from embedded.ports import free_ports
from embedded.process import wait_until
from embedded.provision import Installation
from pilotlight.admin import Admin
from pilotlight.demo.shelf import GOOD, SLOW, Shelf
from pilotlight.stack import Ports, Stack
from tests.docs.elsewhere import is_run_elsewhere
from tests.docs.pages import ROOT, Command, blocks, commands, pages
from tests.docs.shell import Shell
from tests.e2e.conftest import START_TIMEOUT_S, all_served_before

pytestmark = [pytest.mark.triton, pytest.mark.timeout(600)]

TUTORIAL = "docs/tutorial.md"
OWN_TRITON = "docs/howto/own-triton.md"
ADOPT = "docs/howto/adopt.md"
BUILT_BEFORE = {
    "README.md": {"pilotlight release short_form 3": ("short_form", SLOW)},
    "docs/howto/release.md": {
        "pilotlight release short_form 2": ("short_form", GOOD),
        "pilotlight release --all-pending --at-once": ("short_form", SLOW),
        "pilotlight release --all-pending --unserved": ("thumbnail", 1),
    },
}
"""Models and versions. These pages end with the slow version of short_form refused."""
USUAL_PORTS = Ports.usual()


def runs(page: str) -> bool:
    """Whether there is anything to run."""
    return any(
        block.kind == "python" or (block.kind == "console" and not is_run_elsewhere(page))
        for block in blocks(page)
    )


def follow(page: str, shell: Shell, shelf: Shelf | None = None) -> None:
    """Do what the page says, from top to bottom; its Python is one script, run at the end."""
    told = blocks(page)
    for block in told:
        if block.caption is not None:
            (shell.folder / block.caption).write_text(shell.ported(block.text))
        elif block.kind == "console":
            for command in commands(block):
                type_in(page, command, shell, shelf)
    script = "".join(each.text for each in told if each.kind == "python" and each.caption is None)
    if script:
        shell.run_python(script)


def type_in(page: str, command: Command, shell: Shell, shelf: Shelf | None) -> None:
    if is_run_elsewhere(page, command.text):
        return
    if shelf is not None:
        publish_before(page, command, shelf)
    shell.run(command)


def publish_before(page: str, command: Command, shelf: Shelf) -> None:
    """What the reader has built before the command; building takes as long as all the rest."""
    for start, (model, version) in BUILT_BEFORE.get(page, {}).items():
        if command.text.startswith(start) and version not in shelf.store.versions(model):
            shelf.publish(model, version)


def mapped(ports: Ports) -> dict[str, str]:
    """Each usual port, and which of `ports` stands for it."""
    return {
        str(usual): str(ours)
        for name in ("serving", "canary", "gateway", "activator")
        for usual, ours in zip(getattr(USUAL_PORTS, name), getattr(ports, name), strict=True)
    } | {str(USUAL_PORTS.api): str(ports.api)}


@contextmanager
def example_stack(
    installation: Installation, envoy: Path, example_store: Path, folder: Path
) -> Iterator[tuple[Shell, Shelf]]:
    """The example's stack as `pilotlight up` starts it, with version 1 of each model proven."""
    ports = Ports.free()
    shelf = Shelf(
        Store(example_store), folder / "model_repository", ("short_form", "long_form", "session")
    )
    for name in ("bench", "examples"):
        (folder / name).symlink_to(ROOT / name)
    asyncio.run(all_served_before(shelf.store, folder / "home" / "state.sqlite"))
    stack = Stack(
        installation,
        home=folder / "home",
        store=shelf.store.root,
        ports=ports,
        soak_s=1.0,
        on_event=lambda _: None,
        envoy=envoy,
    )
    with ExitStack() as cleanup:
        cleanup.enter_context(stack)
        for server in (stack.serving, stack.canary):
            cleanup.callback(server.kill)
        admin = cleanup.enter_context(Admin(stack.url))
        assert wait_until(lambda: bool(admin.readiness()["ready"]), START_TIMEOUT_S)
        shell = Shell(folder, mapped(ports))
        cleanup.callback(shell.close)
        yield shell, shelf


@pytest.fixture(scope="module")
def shared(
    installation: Installation,
    envoy_binary: Path,
    example_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("docs")
    with example_stack(installation, envoy_binary, example_store, folder) as (shell, _):
        yield shell


APART = {TUTORIAL, OWN_TRITON, ADOPT, *BUILT_BEFORE}


@pytest.mark.parametrize("page", [page for page in pages() if runs(page) and page not in APART])
def test_a_page_does_what_it_says_on_a_running_stack(page: str, shared: Shell) -> None:
    follow(page, shared)


def test_pages_that_release_versions_do_what_they_say(
    installation: Installation, envoy_binary: Path, example_store: Path, tmp_path: Path
) -> None:
    with example_stack(installation, envoy_binary, example_store, tmp_path) as (shell, shelf):
        for page in BUILT_BEFORE:
            follow(page, shell, shelf)
            shell.run(Command(text=f"pilotlight unreject short_form {SLOW}", shown=(), exit_code=0))


@pytest.mark.build
def test_the_tutorial_leads_from_an_empty_folder_to_a_refused_version(
    installation: Installation, envoy_binary: Path, tmp_path: Path
) -> None:
    follow_in_a_folder(TUTORIAL, tmp_path)


@pytest.mark.build
def test_an_existing_repository_is_adopted(
    installation: Installation, envoy_binary: Path, example_store: Path, tmp_path: Path
) -> None:
    write_theirs(tmp_path / "theirs", Store(example_store))
    follow_in_a_folder(ADOPT, tmp_path)


def follow_in_a_folder(page: str, folder: Path) -> None:
    """Only that Triton and Envoy are installed already is different from what a reader does."""
    (folder / ".pilotlight").mkdir()
    for name in ("embedded", "envoy"):
        (folder / ".pilotlight" / name).symlink_to(ROOT / ".pilotlight" / name)
    shell = Shell(folder, {}, {"pilotlight up": "pilotlight up --ports free"})
    try:
        follow(page, shell)
    finally:
        shell.close()


def write_theirs(root: Path, built: Store) -> None:
    """A repository as others write it by hand: without warm-up, golden samples and manifests."""
    source, version = built.version("session", 1), root / "session" / "2"
    version.mkdir(parents=True)
    for file in source.path.glob("model.onnx*"):
        shutil.copy(file, version)
    config = source.config.read_text()
    (root / "session" / "config.pbtxt").write_text(config.partition("model_warmup")[0])
    python = root / "legacy" / "1" / "model.py"
    python.parent.mkdir(parents=True)
    python.touch()
    (root / "legacy" / "config.pbtxt").write_text('backend: "python"\n')


def test_the_sidecar_runs_beside_tritons_that_others_started(
    installation: Installation, example_store: Path, tmp_path: Path
) -> None:
    """The wheel's server stands in for NVIDIA's: same flags, another backend folder."""
    Shelf(Store(example_store), tmp_path / "model_repository", ("session",))
    (tmp_path / "bin").mkdir()
    tritonserver = tmp_path / "bin" / "tritonserver"
    environment = installation.environment()
    tritonserver.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH='{environment['LD_LIBRARY_PATH']}' "
        f"PATH='{environment['PATH']}' CUDA_VISIBLE_DEVICES=\n"
        f"exec '{installation.tritonserver}' '--backend-directory={installation.backend_directory}'"
        ' "$@"\n'
    )
    tritonserver.chmod(0o755)
    usual = ("8200", "8201", "8202", "8100", "8101", "8102", "8080")
    shell = Shell(tmp_path, dict(zip(usual, map(str, free_ports(len(usual))), strict=True)))
    try:
        follow(OWN_TRITON, shell)
    finally:
        shell.close()
