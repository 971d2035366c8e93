"""Settings of a user's own, beside those that a stack decides for its sidecar."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.errors import InvalidSettings
from sidecar.settings import Settings, settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSettings:
    """Keys as in a settings file at `path`: errors name it, its folder is that of paths."""

    path: Path
    keys: Mapping[str, Any] = field(default_factory=dict)

    def beside(self, decided: Mapping[str, Any]) -> Settings:
        """With the keys that are decided.

        Raises:
            InvalidSettings: a key is decided already, unknown or impossible.
        """
        if twice := list(_said_twice(decided, self.keys)):
            raise InvalidSettings(
                f"settings {self.path}: `pilotlight up` decides {', '.join(twice)} itself; leave "
                "that out, for --store, --home and --ports say where all is, or run "
                "`pilotlight serve` beside servers of your own"
            )
        return settings_of(joined(decided, self.keys), self.path)


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; where both say a key, it is as `other` says."""
    found = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], Mapping) and isinstance(other[key], Mapping):
            found[key] = joined(one[key], other[key])
    return found


def _said_twice(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Such as `servers.serving.grpc`."""
    for key in other:
        if key not in one:
            continue
        if isinstance(one[key], Mapping) and isinstance(other[key], Mapping):
            yield from (f"{key}.{below}" for below in _said_twice(one[key], other[key]))
        else:
            yield key
