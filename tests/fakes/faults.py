"""Faults as data: what goes wrong in a `FakeTriton` or a `FakeMeter`, in words.

    load m: refused 'text'        this call is answered with an error, without any effect
    load m 2: fails 'text' x9     the backend cannot make version 2, nine times
    infer m: lost                 no answer; nothing happened
    load m: ignored               OK, and nothing happened
    unload m: lost after          no answer; it happened all the same
    infer m 2: kill x3            the server dies at the call
    load m: slow 5s               it takes longer
    index: lost x2                calls that concern no model; `stats` is `requests_served`
    measure: refused 'text' x2    a `FakeMeter` cannot measure

Each happens once unless `xN` says how often.
"""

import re
from dataclasses import dataclass

_FAULT = re.compile(
    r"(?P<call>check|index|load|unload|infer|stats|measure)"
    r"(?: (?P<model>[A-Za-z_][\w-]*)(?: (?P<version>\d+))?)?: "
    r"(?P<what>refused|fails|ignored|lost after|lost|kill|slow)"
    r"(?: '(?P<text>.*)')?(?: (?P<seconds>[\d.]+)s)?(?: x(?P<times>\d+))?"
)
_WITH_TEXT = ("refused", "fails")


@dataclass(slots=True)
class Fault:
    """`times` counts down."""

    call: str
    model: str | None
    version: int | None
    what: str
    text: str
    seconds: float
    times: int

    def concerns(self, call: str, model: str | None, version: int | None) -> bool:
        return (
            self.times > 0
            and self.call == call
            and self.model in (None, model)
            and self.version in (None, version)
        )


def parse_fault(line: str) -> Fault:
    """Raises ValueError for a line that says nothing possible."""
    found = _FAULT.fullmatch(line)
    if found is None or (found["what"] in _WITH_TEXT) != (found["text"] is not None):
        raise ValueError(f"no fault: {line!r}; see the examples in {__name__}")
    if (found["what"] == "slow") != (found["seconds"] is not None):
        raise ValueError(f"slow, and only slow, takes seconds: {line!r}")
    return Fault(
        call=found["call"],
        model=found["model"],
        version=found["version"] and int(found["version"]),
        what=found["what"],
        text=found["text"] or "",
        seconds=float(found["seconds"] or 0),
        times=int(found["times"] or 1),
    )
