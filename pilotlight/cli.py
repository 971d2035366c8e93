"""The command `pilotlight`."""

import typer

from pilotlight.commands.build import build_command
from pilotlight.commands.demo import demo_command
from pilotlight.commands.remote import (
    load_command,
    release_command,
    rollback_command,
    status_command,
    unload_command,
)
from pilotlight.commands.replay import replay_command
from pilotlight.commands.run import serve_command, up_command

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
app.command("load")(load_command)
app.command("unload")(unload_command)
app.command("release")(release_command)
app.command("rollback")(rollback_command)
app.command("replay")(replay_command)
