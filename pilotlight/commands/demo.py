"""`pilotlight demo`: the story, proven."""

from dataclasses import asdict

from pilotlight.commands.output import CommandFailed, Output
from pilotlight.commands.progress import busy
from pilotlight.commands.running import command


@command("pilotlight demo", extra="all")
def demo_command(out: Output) -> None:
    """Build the example, run it on real servers, and prove what Pilotlight promises."""
    from embedded.errors import EmbeddedError  # noqa: PLC0415  (an extra, and slow)
    from pilotlight.admin import AdminError  # noqa: PLC0415
    from pilotlight.demo.clients import RequestFailed  # noqa: PLC0415
    from pilotlight.demo.shelf import BuildFailed  # noqa: PLC0415
    from pilotlight.demo.story import tell  # noqa: PLC0415
    from pilotlight.stack import StackDidNotStart  # noqa: PLC0415
    from sidecar.errors import SidecarError  # noqa: PLC0415

    expected = (
        EmbeddedError,
        StackDidNotStart,
        SidecarError,
        BuildFailed,
        RequestFailed,
        AdminError,
        TimeoutError,
    )
    try:
        with busy(out.console, "the story takes three minutes or so"):
            proofs = tell(out.console)
    except expected as error:
        raise CommandFailed(str(error)) from error
    out.tell({"proofs": [asdict(proof) for proof in proofs]}, None)
    if not all(proof.held for proof in proofs):
        raise CommandFailed("a claim did not hold; see the table", code="claim_failed")
