"""The config that one server reads, made from the store's."""

from functools import lru_cache

from contract.config import KIND_CPU, format_config, parse_config
from contract.errors import InvalidArtifact

CACHED_CONFIGS = 4096


@lru_cache(CACHED_CONFIGS)
def stage_config(
    stored: str, *, versions: tuple[int, ...], warmup: bool, on_cpu: bool = False
) -> str:
    """The store's config with exactly `versions` to serve.

    On request without `model_warmup`, or with one instance on the CPU. Everything else stays
    the same, so Triton keeps a version that is already loaded in place when only `versions` or
    the instances change.
    """
    config = parse_config(stored, "the stored config")
    config.version_policy.Clear()
    config.version_policy.specific.versions.extend(versions)
    if not warmup:
        config.ClearField("model_warmup")
    if on_cpu:
        config.ClearField("instance_group")
        config.instance_group.add(kind=KIND_CPU, count=1)
    return format_config(config)


def are_in_place(before: str, after: str) -> bool:
    """Whether Triton goes from one staged config to the other without a reload of what stays."""
    if before == after:
        return True
    try:
        return _but_for_versions(before) == _but_for_versions(after)
    except InvalidArtifact:
        return False


@lru_cache(CACHED_CONFIGS)
def _but_for_versions(staged: str) -> str:
    return stage_config(staged, versions=(), warmup=True)
