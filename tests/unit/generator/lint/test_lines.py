from collections.abc import Iterator
from typing import Any

import pytest

from contract.config import parse_config
from generator.config.render import render
from generator.lint.lines import Lines, Step
from tests.golden.cases import CONFIGS

TEXT = """\
# a config
name: "a"  # its { name
input [
  { name: "x", dims: [ 1,
    -1 ] },
  { name: "y" }
]
input <
  name: 'z'
>
parameters { key: "first" value { string_value: "a;"
  "b" } }
parameters {
  key: "second"
  value: { string_value: "c" }
}
version_policy: { specific { versions: [1, 2] } };
max_batch_size: 8
"""


def test_fields_are_found_by_name() -> None:
    lines = Lines(TEXT)

    assert lines.of("name") == 2
    assert lines.of("max_batch_size") == 18


def test_one_of_several_is_found_by_number_however_they_are_written() -> None:
    lines = Lines(TEXT)

    assert [lines.of("input", index, "name") for index in range(3)] == [4, 6, 9]
    assert lines.of("input", 0, "dims", 1) == 5
    assert lines.of("version_policy", "specific", "versions", 1) == 17


def test_values_of_a_map_are_found_by_key() -> None:
    lines = Lines(TEXT)

    assert lines.of("parameters", "second") == 15
    assert lines.of("parameters", "first", "string_value") == 11


def test_what_is_not_written_is_where_it_would_stand() -> None:
    lines = Lines(TEXT)

    assert lines.of("input", 1, "dims") == 6
    assert lines.of("parameters", "third", "string_value") == 11
    assert lines.of("output", 0, "name") == 1


def test_a_text_that_breaks_off_has_lines_too() -> None:
    assert Lines('name: "a"\ninput {\n dims: [1,').of("input", "dims", 0) == 3
    assert Lines("name:").of("name") == 1
    assert Lines("").of("name") == 1


def scalars(message: Any, above: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """The way to every field that is no message and not in a map."""
    for field, value in message.ListFields():
        path = (*above, field.name)
        if field.message_type is None:
            yield path
        elif field.message_type.GetOptions().map_entry:
            continue
        elif hasattr(value, "ListFields"):
            yield from scalars(value, path)
        else:
            for index, each in enumerate(value):
                yield from scalars(each, (*path, index))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_of_what_we_write_is_found_on_the_line_that_has_it(name: str) -> None:
    text = render(CONFIGS[name])
    found = list(scalars(parse_config(text, name)))
    lines = Lines(text)

    assert len(found) > 5
    for path in found:
        assert str(path[-1]) in text.splitlines()[lines.of(*path) - 1]
