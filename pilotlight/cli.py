"""The command `pilotlight`."""

import typer

from pilotlight.commands.ask import (
    drain_command,
    ensure_command,
    load_command,
    pause_command,
    release_command,
    resume_command,
    rollback_command,
    set_command,
    unload_command,
    unquarantine_command,
)
from pilotlight.commands.build import build_command
from pilotlight.commands.demo import demo_command
from pilotlight.commands.events import audit_command, events_command
from pilotlight.commands.plan import plan_command
from pilotlight.commands.replay import replay_command
from pilotlight.commands.run import serve_command, up_command
from pilotlight.commands.show import explain_command, status_command
from pilotlight.commands.traffic import gateway_command, traffic_command

app = typer.Typer(
    help="No user of a model meets a cold start: build, serve and release models on Triton.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("build")(build_command)
app.command("up")(up_command)
app.command("serve")(serve_command)
app.command("demo")(demo_command)
app.command("status")(status_command)
app.command("explain")(explain_command)
app.command("plan")(plan_command)
app.command("gateway")(gateway_command)
app.command("traffic")(traffic_command)
app.command("events")(events_command)
app.command("audit")(audit_command)
app.command("load")(load_command)
app.command("unload")(unload_command)
app.command("ensure")(ensure_command)
app.command("set")(set_command)
app.command("unquarantine")(unquarantine_command)
app.command("release")(release_command)
app.command("rollback")(rollback_command)
app.command("pause")(pause_command)
app.command("resume")(resume_command)
app.command("drain")(drain_command)
app.command("replay")(replay_command)
