"""What happened, one line each."""

from rich.text import Text

from pilotlight.views import Body
from pilotlight.views.words import clock, seconds
from sidecar.core.events import Event, EventName


def event_line(entry: Body) -> Text:
    """When, what, of which model, and everything else that is known of it."""
    name = EventName(entry["event"])
    is_trouble = Event(name=name).is_trouble
    said = [
        entry["model"],
        entry["server"] and f"on {entry['server']}",
        entry["seconds"] is not None and f"in {seconds(entry['seconds'])}",
        entry["actor"] and f"for {entry['actor']}",
        *(f"{key}: {value}" for key, value in entry["detail"].items() if value != ""),
    ]
    line = Text.assemble(
        (f"{clock(entry['at'])}  ", "dim"),
        (f"{name:<18}  ", "red" if is_trouble else "cyan"),
        "  ".join(filter(None, said)),
    )
    line.rstrip()
    return line
