"""Records of what happened. Each becomes one log line, one count and one audit row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class EventName(StrEnum):
    """Verbs in the past; the names are part of the interface and are never reused."""

    SIDECAR_STARTED = "sidecar_started"
    SIDECAR_STOPPED = "sidecar_stopped"
    SERVER_LOST = "server_lost"
    SERVER_FOUND = "server_found"
    SERVER_ENDED = "server_ended"
    SERVER_NOT_ENDED = "server_not_ended"
    MEMORY_LEAKED = "memory_leaked"
    BECAME_READY = "became_ready"
    BECAME_UNREADY = "became_unready"
    MODEL_LOADED = "model_loaded"
    MODEL_ADOPTED = "model_adopted"
    LOAD_FAILED = "load_failed"
    MODEL_UNLOADED = "model_unloaded"
    UNLOAD_FAILED = "unload_failed"
    UNLOAD_CALLED_OFF = "unload_called_off"
    CHECK_PASSED = "check_passed"
    CHECK_FAILED = "check_failed"
    RELEASE_MOVED = "release_moved"
    VERSION_RECORDED = "version_recorded"
    VERSION_REJECTED = "version_rejected"
    REJECTION_CLEARED = "rejection_cleared"
    TRAIN_BEGUN = "train_begun"
    TRAIN_STOPPED = "train_stopped"
    TRAIN_ENDED = "train_ended"
    OPERATION_ACCEPTED = "operation_accepted"
    OPERATION_ENDED = "operation_ended"
    MODEL_KEPT = "model_kept"
    MODEL_LET_GO = "model_let_go"
    MODEL_EVICTED = "model_evicted"
    MODEL_SET_ASIDE = "model_set_aside"
    MODEL_READMITTED = "model_readmitted"
    FILES_READ_AHEAD = "files_read_ahead"
    READ_AHEAD_FAILED = "read_ahead_failed"
    NEVER_STEADY = "never_steady"
    DRIFT = "drift"
    DOES_NOT_FIT = "does_not_fit"
    METER_FAILED = "meter_failed"
    GATEWAY_LOST = "gateway_lost"
    GATEWAY_FOUND = "gateway_found"
    REPLICA_JOINED = "replica_joined"
    REPLICA_LEFT = "replica_left"
    REPLICA_REFUSED = "replica_refused"
    MODE_CHANGED = "mode_changed"
    PROFILE_CHANGED = "profile_changed"
    SPEC_CHANGED = "spec_changed"
    STEERING_CHANGED = "steering_changed"
    RECORDING_CHANGED = "recording_changed"
    STORE_DAMAGED = "store_damaged"
    PROBLEM_FOUND = "problem_found"
    PROBLEM_GONE = "problem_gone"
    CYCLE_FAILED = "cycle_failed"


EventDetail = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`seconds` is how long it took, where it took time."""

    name: EventName
    model: str | None = None
    server: str | None = None
    seconds: float | None = None
    detail: Mapping[str, EventDetail] = field(default_factory=dict)

    @property
    def is_trouble(self) -> bool:
        return self.name in _TROUBLE


_TROUBLE = frozenset(
    {
        EventName.SERVER_LOST,
        EventName.SERVER_NOT_ENDED,
        EventName.MEMORY_LEAKED,
        EventName.BECAME_UNREADY,
        EventName.LOAD_FAILED,
        EventName.UNLOAD_FAILED,
        EventName.CHECK_FAILED,
        EventName.STORE_DAMAGED,
        EventName.MODEL_SET_ASIDE,
        EventName.VERSION_REJECTED,
        EventName.READ_AHEAD_FAILED,
        EventName.NEVER_STEADY,
        EventName.DRIFT,
        EventName.DOES_NOT_FIT,
        EventName.METER_FAILED,
        EventName.GATEWAY_LOST,
        EventName.REPLICA_LEFT,
        EventName.REPLICA_REFUSED,
        EventName.PROBLEM_FOUND,
        EventName.CYCLE_FAILED,
    }
)
