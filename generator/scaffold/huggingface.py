"""Folders in the layout of Hugging Face, as entries of a recipe. Pure, but for what it reads.

Only `config.json` is read. What a class takes and gives is told by the end of its name, and by
whether it has a vocabulary or pictures of one size; any other class is left to the author.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contract import layout
from contract.dtypes import Datatype
from generator.errors import NothingFound
from generator.scaffold.entry import relative
from generator.scaffold.found import Found, FoundDim, FoundInput, FoundModel

CONFIG = "config.json"
_OUTPUTS = {
    "ForSequenceClassification": ("logits",),
    "ForTokenClassification": ("logits",),
    "ForMaskedLM": ("logits",),
    "ForImageClassification": ("logits",),
    "ForQuestionAnswering": ("start_logits", "end_logits"),
    "Model": ("last_hidden_state",),
}
_BATCH = 8
_USUAL_LENGTH = 64
_LONGEST = 512

Config = Mapping[str, Any]


def folders(root: Path) -> list[Path]:
    """The folder itself if it holds a model, else those in it that do; none that are Triton's."""
    if (root / CONFIG).is_file():
        return [root]
    holders = sorted(path.parent for path in root.glob(f"*/{CONFIG}"))
    return [folder for folder in holders if not (folder / layout.CONFIG).exists()]


def look(found: Sequence[Path], *, recipe_folder: Path) -> Found:
    """An entry for each folder whose class is known, with paths from `recipe_folder`.

    Raises:
        NothingFound: there is none.
    """
    left_out: list[str] = []
    models = tuple(
        model for folder in found if (model := _entry(folder, recipe_folder, left_out)) is not None
    )
    if not models:
        raise NothingFound(
            f"{'; '.join(left_out)}; write an entry by hand: huggingface, inputs and outputs"
        )
    return Found(models=models, left_out=tuple(left_out))


def _entry(folder: Path, recipe_folder: Path, left_out: list[str]) -> FoundModel | None:
    name = folder.resolve().name
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = str(config["architectures"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        left_out.append(f"{name}: its {CONFIG} names no class")
        return None
    if not any(folder.glob("*.safetensors")):
        left_out.append(f"{name}: no .safetensors; model.save_pretrained(folder) writes them")
        return None
    inputs = tuple(_inputs(config))
    outputs = next((names for end, names in _OUTPUTS.items() if kind.endswith(end)), None)
    if outputs is None or not inputs:
        left_out.append(f"{name}: what {kind} takes and gives is not known here")
        return None
    longest = min(config.get("max_position_embeddings", _LONGEST), _LONGEST)
    sizes = (1, min(_USUAL_LENGTH, longest), longest)
    is_text = "vocab_size" in config
    return FoundModel(
        name=name if layout.is_model_name(name) else re.sub(r"[^\w.-]", "_", name, flags=re.ASCII),
        source={"huggingface": relative(folder, recipe_folder)},
        inputs=inputs,
        dims=(FoundDim(name="seq", sizes=sizes),) if is_text else (),
        outputs=outputs,
        max_batch_size=_BATCH,
        notes=(kind,),
    )


def _inputs(config: Config) -> Iterator[FoundInput]:
    if config.get("is_encoder_decoder"):
        return
    if rows := config.get("vocab_size"):
        ids = FoundInput(name="input_ids", datatype=Datatype.INT64, shape=("seq",), range=(0, rows))
        yield ids
        yield FoundInput(
            name="attention_mask", datatype=Datatype.INT64, shape=("seq",), fill="mask"
        )
    elif isinstance(size := config.get("image_size"), int):
        shape = (config.get("num_channels", 3), size, size)
        yield FoundInput(name="pixel_values", datatype=Datatype.FP32, shape=shape)
