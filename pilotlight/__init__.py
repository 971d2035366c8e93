"""The command `pilotlight`, and what only people use.

cli        the command and its subcommands (`commands/`)
admin      a client of the sidecar's REST API
views      its answers as people read them
stack      two embedded Tritons and a sidecar, started and stopped together
demo       the story that `make demo` tells and proves
"""
