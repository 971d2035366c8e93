"""A model's `config`, put into the text that was derived from the rest of the recipe. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contract.config import parse_config
from generator.config.schema import Message, is_map, join, message_of
from generator.errors import ConfigRefused

# Of the template's text: whatever is within a block is indented, strings have no line breaks.
_BLOCKS = re.compile(r"^(?=[a-z])", re.MULTILINE)
_HEADING = "# From `config` in the recipe, with what was derived of the same fields.\n"

# The recipe's key that decides a field of the config.
_KEYS = {
    "name": "name",
    "backend": "format",
    "platform": "format",
    "default_model_filename": "format",
    "max_batch_size": "max_batch_size",
    "input": "inputs",
    "output": "outputs",
    "instance_group": "instances",
    "dynamic_batching": "batching",
    "sequence_batching": "sequence",
    "response_cache": "response_cache",
    "version_policy": "version_policy",
}
# Derived whatever their value is: `max_batch_size: 0` is a decision, too.
_DECIDED = ("name", "backend", "platform", "default_model_filename", "max_batch_size")


def add_passthrough(text: str, given: Mapping[str, Any], model: str) -> str:
    """`text` with `given`, a mapping in which `schema.problems` finds none.

    A field of ModelConfig in which both have a part is printed by protobuf, below the others.

    Raises:
        ConfigRefused: both decide the same, and differently.
    """
    if not given:
        return text
    derived = parse_config(text, f"the config of {model}")
    config = parse_config(text, f"the config of {model}")
    if found := list(_merge(config, message_of(given), given, "")):
        raise ConfigRefused(f"{model}: config contradicts the recipe: {'; '.join(found)}")
    before = {field.name: value for field, value in derived.ListFields()}
    changed = [
        field.name
        for field, value in config.ListFields()
        if field.name not in before or before[field.name] != value
    ]
    kept = [block for block in _BLOCKS.split(text) if _first_word(block) not in changed]
    return "".join(kept) + _print(config, changed)


def _first_word(block: str) -> str:
    return re.split(r"\W", block, maxsplit=1)[0]


def _print(config: Message, fields: Sequence[str]) -> str:
    from google.protobuf import text_format  # noqa: PLC0415  (the command line needs it not)

    part = type(config)()
    part.CopyFrom(config)
    for field, _ in config.ListFields():
        if field.name not in fields:
            part.ClearField(field.name)
    text = text_format.MessageToString(part, use_short_repeated_primitives=True, as_utf8=False)
    return _HEADING + text if text else ""


def _merge(into: Message, said: Message, given: Mapping[str, Any], path: str) -> Iterator[str]:
    """Put `said` into a message; yields what contradicts it.

    `given` is what `said` was read from: a field of the value 0 is there and nowhere else.
    """
    for key in given:
        where = join(path, key)
        field = into.DESCRIPTOR.fields_by_name[key]
        mine, theirs = getattr(into, key), getattr(said, key)
        other = field.containing_oneof and into.WhichOneof(field.containing_oneof.name)
        if other and other != key:
            yield _contradiction(where, "is given", f"has {other}")
        elif is_map(field):
            yield from _merge_map(mine, theirs, given[key], where)
        elif field.is_repeated:
            yield from _merge_list(mine, theirs, given[key], where)
        elif field.message_type is not None:
            mine.SetInParent()
            yield from _merge(mine, theirs, given[key], where)
        elif mine != theirs and (mine != field.default_value or where in _DECIDED):
            yield _contradiction(where, f"is {theirs!r}", f"makes it {mine!r}")
        else:
            setattr(into, key, theirs)


def _merge_map(mine: Any, theirs: Any, given: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in theirs:
        where = f"{path}[{name}]"
        if _are_messages([theirs[name]]):
            yield from _merge(mine[name], theirs[name], given[str(name)], where)
        elif name in mine and mine[name] != theirs[name]:
            yield _contradiction(where, f"is {theirs[name]!r}", f"makes it {mine[name]!r}")
        else:
            mine[name] = theirs[name]


def _merge_list(mine: Any, theirs: Any, given: Sequence[Any], path: str) -> Iterator[str]:
    """Messages that both list become one each, by name or, where they have none, in order."""
    if not (mine and theirs):
        mine.MergeFrom(theirs)
        return
    if (partners := _partners(mine, theirs)) is not None:
        for index, partner in enumerate(partners):
            yield from _merge(partner, theirs[index], given[index], f"{path}[{index}]")
    elif list(mine) != list(theirs):
        yield _contradiction(path, f"is {_short(theirs)}", f"makes it {_short(mine)}")


def _partners(mine: Any, theirs: Any) -> list[Message] | None:
    """Of `mine`, one for each of `theirs`."""
    if not _are_messages(mine):
        return None
    if all(names := _names(mine)):
        by_name = dict(zip(names, mine, strict=True))
        found = [by_name.get(item.name) for item in theirs]
        return found if all(partner is not None for partner in found) else None
    return list(mine) if len(mine) == len(theirs) else None


def _are_messages(items: Sequence[Any]) -> bool:
    return hasattr(items[0], "ListFields")


def _names(items: Sequence[Message]) -> list[str]:
    return [getattr(item, "name", "") for item in items]


def _short(items: Sequence[Any]) -> str:
    if not _are_messages(items):
        return str(list(items))
    return str(names) if all(names := _names(items)) else f"{len(items)} long"


def _contradiction(where: str, said: str, derived: str) -> str:
    top = re.split(r"\W", where, maxsplit=1)[0]
    key = _KEYS.get(top)
    remedy = f"change {key} in the recipe" if key else "take it out of config"
    return f"config.{where} {said}, the recipe {derived}; {remedy}"
