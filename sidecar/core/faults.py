"""Why a model could not be loaded, from the texts of Triton and its backends.

Their status codes do not help: a corrupt file, a missing one and a full GPU are all INTERNAL.
`tests/contract/test_fault_texts.py` provokes what a machine without a GPU can on a real
server; `tests/unit/sidecar/test_faults.py` holds texts of the others with their sources.
"""

from enum import StrEnum

QUARANTINE_AFTER = 3
"""Failures in a row after which a model is set aside."""
FIRST_QUARANTINE_S = 60.0
LAST_QUARANTINE_S = 3600.0


class FaultKind(StrEnum):
    """`corrupt`: the backend cannot make anything of the version's file."""

    OUT_OF_MEMORY = "out_of_memory"
    BACKEND_MISSING = "backend_missing"
    MISSING_FILE = "missing_file"
    NO_GPU = "no_gpu"
    CORRUPT = "corrupt"
    WARM_UP = "warm_up_failed"
    WRONG_ANSWER = "wrong_answer"
    TIMEOUT = "timeout"
    SERVER_LOST = "server_lost"
    UNKNOWN = "unknown"


K = FaultKind

# In this order: memory may run out while a sample runs, and ONNX Runtime says `Load model
# from` of files that are missing too.
_SIGNS: tuple[tuple[FaultKind, tuple[str, ...]], ...] = (
    (
        K.OUT_OF_MEMORY,
        (
            "out of memory",
            "outofmemory",
            "errormemoryallocation",
            "allocaterawinternal",
            "failed to allocate",
            "cannot allocate memory",
            "is smaller than requested bytes",
            "bad_alloc",
            "bad allocation",
            "memoryerror",
            "_status_alloc_failed",
            "memory limit set for",
            "unable to create tensorrt context",
            "unable to initialize shared memory key",
            "failed to increase the shared memory pool size",
            "out of shared memory",
        ),
    ),
    (
        K.BACKEND_MISSING,
        (
            "unable to find backend library",
            "unable to find 'libtriton_",
            "unable to load shared library",
            "unknown platform",
        ),
    ),
    (K.NO_GPU, ("but no gpus are available", "invalid or unsupported gpu id")),
    (
        K.MISSING_FILE,
        (
            "failed to poll from model repository",
            "at least one version must be available",
            "no such file or directory",
            "file doesn't exist",
            "external data path does not exist",
            "failed to stat file",
            "has no file",
        ),
    ),
    (
        K.CORRUPT,
        (
            "onnx runtime error 10",
            "load model from",
            "failed to load model with error",
            "unable to create tensorrt engine",
            "unable to load plan file",
            "pytorchstreamreader failed",
            "differs from its manifest",
            "build it again",
            "build the version again",
        ),
    ),
    (K.WARM_UP, ("failed to run warmup sample", "warmup setting expects")),
    (K.WRONG_ANSWER, ("answers a golden sample wrongly",)),
    (K.TIMEOUT, ("deadline_exceeded", "is still loading on")),
    (K.SERVER_LOST, ("no answer from",)),
)

_REMEDIES = {
    K.OUT_OF_MEMORY: (
        "free memory on the server: unload another model, lower the device's budget, or ask for "
        "fewer instances"
    ),
    K.BACKEND_MISSING: (
        "use a Triton image that has the backend, or build the model for one that it has"
    ),
    K.MISSING_FILE: (
        "check that the server reads the stage of the settings, and that the store is mounted "
        "there at the same path"
    ),
    K.NO_GPU: (
        "start the server with the GPU, or build the model with `target: cpu`, and with `kind: "
        "cpu` where its recipe has `instances`"
    ),
    K.CORRUPT: (
        "publish the model again under a new number, from an export that this server's backend "
        "can read"
    ),
    K.WARM_UP: (
        "build the version again with warm-up samples that the model accepts; a failing one can "
        "kill a server"
    ),
    K.WRONG_ANSWER: "export the model again: its file computes something else than PyTorch does",
    K.TIMEOUT: "wait, or raise `load_timeout_s` if this model takes longer than that to load",
    K.SERVER_LOST: "see the server's log for why it went away; it is asked again when it is back",
    K.UNKNOWN: "see the server's log; its answer does not say more",
}

_PASSING = frozenset({K.OUT_OF_MEMORY, K.MISSING_FILE, K.TIMEOUT, K.SERVER_LOST, K.UNKNOWN})
_OF_THE_SERVER = frozenset({K.BACKEND_MISSING, K.MISSING_FILE, K.NO_GPU})


def classify(text: str, *, lost: bool) -> FaultKind:
    """What kind of failure a reason speaks of; `lost` when there was no answer at all."""
    said = text.lower()
    if lost:
        return K.TIMEOUT if "deadline_exceeded" in said else K.SERVER_LOST
    return next((kind for kind, signs in _SIGNS if any(sign in said for sign in signs)), K.UNKNOWN)


def remedy(kind: FaultKind) -> str:
    """What an operator can do about it, in one sentence."""
    return _REMEDIES[kind]


def is_passing(kind: FaultKind) -> bool:
    """Whether the same version can load later although nobody changed it."""
    return kind in _PASSING


def ends_with_a_restart(kind: FaultKind) -> bool:
    """Whether it may be over when the server has started anew, with other mounts or devices."""
    return kind in _OF_THE_SERVER


def ended_by(kind: FaultKind) -> str:
    """What ends a quarantine for it, whether it ends by itself or not."""
    restart = "a restart of the server, " if ends_with_a_restart(kind) else ""
    return f"{restart}a newer version or `pilotlight unquarantine`"


def quarantine_until_s(times_quarantined: int, at_s: float) -> float:
    """End of the rest that begins at `at_s`, the `times_quarantined`th in a row, from 1."""
    # The exponent is bounded because floats are.
    doubled_s = FIRST_QUARANTINE_S * 2.0 ** min(times_quarantined - 1, 32)
    return at_s + min(doubled_s, LAST_QUARANTINE_S)
