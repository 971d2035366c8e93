"""Texts that this machine cannot provoke, as people reported them or as the source makes them.

`tests/contract/test_fault_texts.py` has the others, from a real server.
"""

import pytest

from sidecar.core.faults import (
    FaultKind,
    classify,
    ended_by,
    is_passing,
    quarantine_until_s,
    remedy,
)

K = FaultKind
FAILED = "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: "

TEXTS = [
    # triton-inference-server/server#5661
    (
        K.OUT_OF_MEMORY,
        "onnx runtime error 6: Exception during initialization: /workspace/onnxruntime/onnxruntime/"
        "core/framework/bfc_arena.cc:368 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, "
        "bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) Failed to allocate "
        "memory for requested buffer of size 268435456",
    ),
    # triton-inference-server/server#5014
    (
        K.OUT_OF_MEMORY,
        "onnx runtime error 6: Non-zero status code returned while running FusedConv node. "
        "Status Message: CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc(&p, size);",
    ),
    # microsoft/CNTK#1688; ONNX Runtime has the same words
    (K.OUT_OF_MEMORY, "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; line=164"),
    # NVIDIA/TensorRT#3017
    (
        K.OUT_OF_MEMORY,
        "2: [executionContext.cpp::ExecutionContext::470] Error Code 2: OutOfMemory (no further "
        "information)",
    ),
    # tensorrt_backend, when the logger kept nothing
    (K.OUT_OF_MEMORY, "unable to create TensorRT context"),
    (K.OUT_OF_MEMORY, "RuntimeError: CUDA error: out of memory"),
    (K.OUT_OF_MEMORY, "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
    (K.OUT_OF_MEMORY, "cudaErrorMemoryAllocation"),
    (K.OUT_OF_MEMORY, "onnx runtime error 6: std::bad_alloc"),
    (K.OUT_OF_MEMORY, "onnx runtime error 6: while running MatMul. Status Message: bad allocation"),
    # core backend_model_instance.cc
    (K.OUT_OF_MEMORY, "failed to allocate output buffer for warmup."),
    (K.OUT_OF_MEMORY, "OSError: [Errno 12] Cannot allocate memory"),
    # core backend_model_instance.cc, with --model-load-gpu-limit
    (
        K.OUT_OF_MEMORY,
        "can not create model 'm_0_0': memory limit set for GPU 0 has exceeded, model loading is "
        "rejected.",
    ),
    # ONNX Runtime's arena, with gpu_mem_limit
    (
        K.OUT_OF_MEMORY,
        "onnx runtime error 6: Available memory of 1048576 is smaller than requested bytes of "
        "2097152",
    ),
    # triton-inference-server/server#6195
    (
        K.OUT_OF_MEMORY,
        "Unable to initialize shared memory key 'triton_python_backend_shm_region_3' to requested "
        "size (67108864 bytes). If you are running Triton inside docker, use '--shm-size' flag to "
        "control the shared memory region size. Error: No space left on device",
    ),
    # triton-inference-server/server#2749
    (
        K.OUT_OF_MEMORY,
        "Failed to initialize the model instance m because it run out of shared memory.",
    ),
    # triton-inference-server/server#5681
    (
        K.OUT_OF_MEMORY,
        "Failed to increase the shared memory pool size for key "
        "'triton_python_backend_shm_region_2' to 67108864 bytes. Error: No space left on device",
    ),
    # The memory ran out, and that is why the warm-up failed.
    (K.OUT_OF_MEMORY, "failed to run warmup sample 'b8': CUDA failure 2: out of memory; "),
    # triton-inference-server/server#3965
    (
        K.BACKEND_MISSING,
        "unable to find 'libtriton_onnxruntime.so' for model 'm', searched: /models/m/1, /models/m",
    ),
    # triton-inference-server/tensorrtllm_backend#662
    (
        K.BACKEND_MISSING,
        "unable to load shared library: /opt/tritonserver/backends/tensorrtllm/"
        "libtriton_tensorrtllm.so: undefined symbol: _ZNK12tensorrt_llm8executor8Response11",
    ),
    # triton-inference-server/server#2179
    (K.BACKEND_MISSING, "unknown platform 'onnxruntime_onnx'"),
    # ONNX Runtime's own words for a file that is not there; a corrupt one begins alike.
    (
        K.MISSING_FILE,
        "onnx runtime error 3: Load model from /models/m/1/model.onnx failed. File doesn't exist",
    ),
    (
        K.MISSING_FILE,
        'onnx runtime error 1: External data path does not exist: "model.onnx.data"',
    ),
    # triton-inference-server/server#7531
    (K.MISSING_FILE, "failed to stat file /models/m/1/model.onnx"),
    # triton-inference-server/tutorials#34
    (
        K.CORRUPT,
        "onnx runtime error 2: Failed to load model with error: Unknown model file format version.",
    ),
    (K.CORRUPT, "failed to load model 'm': PytorchStreamReader failed reading zip archive"),
    # NVIDIA/TensorRT#1936, server#317
    (K.CORRUPT, "unable to create TensorRT engine"),
    (
        K.CORRUPT,
        "unable to load plan file to auto complete config: 1: [stdArchiveReader.cpp::40] Error "
        "Code 1: Serialization (Version tag does not match)",
    ),
    (K.CORRUPT, "onnx runtime error 10: This is an invalid model. Error: Duplicate initializer"),
    (
        K.CORRUPT,
        "onnx runtime error 1: Load model from /models/m/1/model.onnx failed: Unsupported model IR "
        "version: 11, max supported IR version: 10",
    ),
    # tritonserver 2.51, where 2 of 8 such loads killed it
    (
        K.WARM_UP,
        "failed to run warmup sample 'one': batch size 64 for 'm_0_0', max allowed is 8; ",
    ),
    (K.UNKNOWN, "Stub process 'm_0_0' is not healthy."),
]

OURS = [
    (K.CORRUPT, "version 1 differs from its manifest: model.onnx has another SHA-256"),
    (
        K.CORRUPT,
        "golden samples /store/m/1/golden.npz cannot be read; build the version again",
    ),
    (
        K.UNKNOWN,
        "golden samples /store/m/1/golden.npz cannot be read: [Errno 24] Too many open files; the "
        "disk, its mount, the file's permissions or the limit of open files is at fault, and not "
        "the version: mend that",
    ),
    (K.CORRUPT, "warm-up input x has no input_data_file; build it again"),
    (K.WRONG_ANSWER, "version 1 answers a golden sample wrongly: y: scaled error 0.3"),
    (K.TIMEOUT, "m is still loading on serving after 120 s, and unloading it now could kill it"),
    (K.TIMEOUT, "the canary server was lost 3 times: no answer from c:8001: DEADLINE_EXCEEDED"),
    (K.SERVER_LOST, "the canary server was lost 3 times: no answer from canary server at c:8001"),
]


@pytest.mark.parametrize(("kind", "text"), TEXTS)
def test_a_reported_text_is_understood(kind: FaultKind, text: str) -> None:
    assert classify(FAILED + text, lost=False) is kind


@pytest.mark.parametrize(("kind", "text"), OURS)
def test_a_text_of_the_sidecars_own_is_understood(kind: FaultKind, text: str) -> None:
    assert classify(text, lost=False) is kind


def test_no_answer_is_a_timeout_or_a_lost_server_whatever_the_text_says() -> None:
    late = "no answer from serving server at s:8001: DEADLINE_EXCEEDED Deadline Exceeded"
    dead = "no answer from serving server at s:8001: UNAVAILABLE out of memory"

    assert classify(late, lost=True) is K.TIMEOUT
    assert classify(dead, lost=True) is K.SERVER_LOST


def test_trying_again_helps_unless_the_version_itself_is_at_fault() -> None:
    assert {kind for kind in FaultKind if not is_passing(kind)} == {
        K.CORRUPT,
        K.WRONG_ANSWER,
        K.BACKEND_MISSING,
        K.NO_GPU,
        K.WARM_UP,
    }


def test_what_ends_a_quarantine_is_told_by_what_led_to_it() -> None:
    assert ended_by(K.CORRUPT) == "a newer version or `pilotlight unquarantine`"
    assert ended_by(K.NO_GPU) == (
        "a restart of the server, a newer version or `pilotlight unquarantine`"
    )
    assert "server" not in remedy(K.NO_GPU).partition(", or ")[2]


def test_each_kind_has_a_remedy_of_its_own() -> None:
    assert len({remedy(kind) for kind in FaultKind}) == len(FaultKind)


def test_a_quarantine_doubles_from_a_minute_to_an_hour() -> None:
    rests = [quarantine_until_s(times, 1000.0) - 1000.0 for times in (1, 2, 3, 6, 7, 8, 5000)]

    assert rests == [60.0, 120.0, 240.0, 1920.0, 3600.0, 3600.0, 3600.0]
