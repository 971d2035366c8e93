"""A claim, what was measured, and whether it held."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Proof:
    claim: str
    measured: str
    held: bool


def proof_table(proofs: Sequence[Proof]) -> Table:
    table = Table(title="What was proven, on real servers", title_justify="left")
    table.add_column("")
    table.add_column("claim")
    table.add_column("measured", overflow="fold")
    for proof in proofs:
        mark = "[green]yes[/]" if proof.held else "[red]NO[/]"
        table.add_row(mark, proof.claim, escape(proof.measured))
    return table
