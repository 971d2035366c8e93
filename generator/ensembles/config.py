"""config.pbtxt of an ensemble: its steps, and the tensors at both ends."""

from contract.manifest import Signature, TensorSpec
from generator.config.render import print_template
from generator.config.triton import Tensor
from generator.recipe import EnsembleRecipe


def ensemble_config(ensemble: EnsembleRecipe, signature: Signature) -> str:
    """No warm-up and no instances: Triton refuses both here, the models have their own.

    Steps name no version: they go to whichever their models serve, as clients without a
    version do. A step that named one would fail as soon as its model was promoted.
    """
    return print_template(
        "ensemble.pbtxt.j2",
        ensemble=ensemble,
        max_batch_size=signature.max_batch_size,
        inputs=[_tensor(spec) for spec in signature.inputs],
        outputs=[_tensor(spec) for spec in signature.outputs],
    )


def _tensor(spec: TensorSpec) -> Tensor:
    return Tensor(name=spec.name, data_type=spec.datatype.config_name, dims=spec.shape)
