"""Folders, links and versions. The files that a model needs: `files`."""

import re
from collections.abc import Iterator

from contract.layout import MAX_VERSION
from generator.lint.finding import Problem, Rename, Severity, rule
from generator.lint.repository import Place, Repository, version_read

_LIKE_A_VERSION = re.compile(r"(v|ver|version)[-_.]?\d+", re.IGNORECASE)


@rule(
    "PL101",
    Severity.ERROR,
    why='Triton\'s index of the repository fails for every model: "failed to stat file".',
    remedy="point the link at something that exists, or remove it",
)
def dangling_link_at_root(repository: Repository) -> Iterator[Problem]:
    for name, entry in repository.entries.items():
        if entry.is_dangling:
            yield Problem(Place(name), f"the link leads to {entry.target}, which does not exist")


@rule(
    "PL102",
    Severity.ERROR,
    why="Triton looks at each entry of a model's folder before it loads, and refuses the load.",
    remedy="point the link at something that exists, or remove it",
)
def dangling_link(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for path, entry in model.entries.items():
            # Further down Triton minds only what it needs, which other rules look for.
            if entry.is_dangling and "/" not in path:
                yield Problem(
                    model.at(path), f"the link leads to {entry.target}, which does not exist"
                )


@rule(
    "PL103",
    Severity.WARNING,
    why=(
        "In a container, or after a copy, it dangles unless its target is there too. Of a folder "
        "Triton visits everything below at each load."
    ),
    remedy="copy the file into the repository, or make the link lead inside",
)
def link_out_of_repository(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for path, entry in model.entries.items():
            if entry.leaves and not entry.is_dangling:
                yield Problem(
                    model.at(path), f"the link leads out of the repository: {entry.target}"
                )


@rule(
    "PL104",
    Severity.ERROR,
    why=(
        "Triton takes every folder at the root for a model, hidden ones too; one that it cannot "
        "load keeps a server from starting that loads all of them."
    ),
    remedy="move it out of the repository",
)
def folder_is_no_model(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        if not model.texts and not any(version_read(name) is not None for name in model.folders):
            yield Problem(model.at(), "it holds neither a config.pbtxt nor a version")


@rule(
    "PL105",
    Severity.ERROR,
    why="Triton loads no model without a folder whose name is a number, not even an ensemble.",
    remedy="put the model's files into a folder named 1; an ensemble's may be empty",
)
def no_version(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        if model.texts and not model.versions:
            yield Problem(model.at(), "it has no version folder")


@rule(
    "PL106",
    Severity.ERROR,
    why=(
        "std::stoll throws what Triton does not catch: the whole server aborts at the first load "
        "of this model."
    ),
    remedy=f"rename it to a number from 1 to {MAX_VERSION}",
)
def version_overflow(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for name in model.folders:
            if abs(version_read(name) or 0) > MAX_VERSION:
                yield Problem(
                    model.at(name),
                    f"version {name} does not fit into 64 bits",
                    Rename(f"{model.name}/{name}", f".{name}"),
                )


@rule(
    "PL107",
    Severity.ERROR,
    why=(
        "Triton reads a number as far as it goes, ignores the rest of the name, and then looks for "
        "the model in a folder of the number alone, which is not there. A negative one fails, too."
    ),
    remedy="let the name of what is no version begin with a dot",
)
def number_in_front(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for name in model.folders:
            version = version_read(name)
            if version is None or abs(version) > MAX_VERSION or version in model.versions:
                continue
            yield Problem(
                model.at(name),
                f"{name} is taken for version {version}",
                Rename(f"{model.name}/{name}", f".{name}"),
            )


@rule(
    "PL108",
    Severity.WARNING,
    why="Triton ignores a version folder whose name begins with a zero.",
    remedy="name it without zeros in front",
)
def leading_zeros(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for name in model.folders:
            if len(name) > 1 and name.startswith("0") and name.isdecimal() and int(name):
                plain = str(int(name))
                # Beside other versions it might become the one that is served.
                rename = None if model.versions else Rename(f"{model.name}/{name}", plain)
                yield Problem(model.at(name), f"{name} is no version; {plain} would be", rename)


@rule(
    "PL109",
    Severity.WARNING,
    why="Triton ignores folders whose names do not begin with a number.",
    remedy="name the folder by the number alone",
)
def version_with_word(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for name in model.folders:
            if _LIKE_A_VERSION.fullmatch(name):
                yield Problem(model.at(name), f"{name} looks like a version and is none")


@rule(
    "PL110",
    Severity.ERROR,
    why="Triton says so in its log only: the load is reported as done without this version.",
    remedy="add the folder, or take the version out of the policy",
)
def version_missing(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        for index, version in enumerate(config.message.version_policy.specific.versions):
            if config.model.versions and version not in config.model.versions:
                yield Problem(
                    config.at("version_policy", "specific", "versions", index),
                    f"version_policy names version {version}, and there is no folder {version}",
                )


@rule(
    "PL114",
    Severity.WARNING,
    why=(
        "Triton compares times of change: until this one has passed, a load does nothing where "
        "something changed."
    ),
    remedy="set the clock right, then touch the file",
)
def changed_in_the_future(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for path, entry in model.entries.items():
            ahead_s = entry.modified_s - repository.read_s
            if ahead_s > 1:
                yield Problem(model.at(path), f"it was changed {ahead_s:.0f} s from now")


@rule(
    "PL115",
    Severity.ERROR,
    why=(
        "Before each load Triton visits every entry and follows links until the system refuses "
        "the fortieth: over two links that lead up there are 2^40 ways, and the load does not end."
    ),
    remedy="remove the links, or move them out of the model's folder",
)
def links_round_and_round(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        found = [path for path, entry in model.entries.items() if entry.leads_up]
        for path in found if len(found) > 1 else ():
            yield Problem(model.at(path), f"{len(found)} links lead to folders around them")
