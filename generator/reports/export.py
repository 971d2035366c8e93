"""From recipe to model files."""

from pathlib import Path

from contract.manifest import Reference
from generator.recipe import ModelRecipe
from generator.reports.graph import GraphFacts
from generator.reports.message import Message


class ExportJob(Message):
    """`folder` receives model.onnx, model.onnx.data and CASES."""

    model: ModelRecipe
    recipe_folder: Path
    folder: Path
    threads: int


class ExportReport(Message):
    """`sources`: the model's own source files, relative to the recipe's folder, with hashes.

    `reference` says where CASES and `tolerances` come from, `facts` what warm-up has to know,
    `notes` what whoever builds should know.
    """

    sources: dict[str, str]
    tolerances: dict[str, float]
    reference: Reference
    facts: GraphFacts
    notes: tuple[str, ...] = ()
