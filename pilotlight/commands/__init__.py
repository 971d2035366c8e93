"""Subcommands, by what they need: the generator, a machine to run on, a running sidecar."""
