"""`python -m pilotlight` is the command `pilotlight`."""

from pilotlight.cli import app

app()
