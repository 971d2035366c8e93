"""`pilotlight demo`: the story, proven."""

from rich.console import Console

from embedded.errors import EmbeddedError
from pilotlight.admin import AdminError
from pilotlight.commands.output import fail
from pilotlight.demo.clients import RequestFailed
from pilotlight.demo.shelf import BuildFailed
from pilotlight.demo.story import tell
from pilotlight.stack import SidecarDidNotStart
from sidecar.errors import SidecarError

EXPECTED = (
    EmbeddedError,
    SidecarDidNotStart,
    SidecarError,
    AdminError,
    BuildFailed,
    RequestFailed,
    TimeoutError,
)


def demo_command() -> None:
    """Build the example, run it on real servers, and prove what Pilotlight promises."""
    console = Console()
    try:
        held = tell(console)
    except EXPECTED as error:
        fail(console, str(error))
    if not held:
        fail(console, "a claim did not hold; see the table")
