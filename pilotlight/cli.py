"""The command `pilotlight`."""

from collections.abc import Callable

import typer

from pilotlight.commands.ask import (
    drain_command,
    ensure_command,
    load_command,
    pause_command,
    resume_command,
    set_command,
    unload_command,
    unquarantine_command,
    unreject_command,
)
from pilotlight.commands.build import build_command
from pilotlight.commands.demo import demo_command
from pilotlight.commands.events import audit_command, events_command
from pilotlight.commands.history import history_command
from pilotlight.commands.plan import plan_command
from pilotlight.commands.recording import recording_command
from pilotlight.commands.release import (
    abort_command,
    promote_command,
    release_command,
    rollback_command,
    watch_command,
)
from pilotlight.commands.replay import replay_command
from pilotlight.commands.report import report_command
from pilotlight.commands.run import serve_command, up_command
from pilotlight.commands.show import explain_command, status_command
from pilotlight.commands.traffic import gateway_command, traffic_command
from pilotlight.commands.train import train_command

app = typer.Typer(
    help="No user of a model meets a cold start: build, serve and release models on Triton.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Build and run": {
        "build": build_command,
        "up": up_command,
        "serve": serve_command,
        "demo": demo_command,
    },
    "Look": {
        "status": status_command,
        "explain": explain_command,
        "plan": plan_command,
        "events": events_command,
        "audit": audit_command,
        "replay": replay_command,
    },
    "Models": {
        "load": load_command,
        "unload": unload_command,
        "ensure": ensure_command,
        "set": set_command,
        "unquarantine": unquarantine_command,
    },
    "Releases": {
        "release": release_command,
        "train": train_command,
        "watch": watch_command,
        "promote": promote_command,
        "abort": abort_command,
        "rollback": rollback_command,
        "unreject": unreject_command,
        "history": history_command,
        "report": report_command,
    },
    "Requests of clients": {
        "gateway": gateway_command,
        "traffic": traffic_command,
        "recording": recording_command,
    },
    "A release, or the whole sidecar": {
        "pause": pause_command,
        "resume": resume_command,
        "drain": drain_command,
    },
}
for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
