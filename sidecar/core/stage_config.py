"""The config that one server reads, made from the store's."""

from functools import lru_cache

from contract.config import format_config, parse_config

CACHED_CONFIGS = 4096


@lru_cache(CACHED_CONFIGS)
def stage_config(stored: str, *, versions: tuple[int, ...], warmup: bool) -> str:
    """The store's config with exactly `versions` to serve, without `model_warmup` on request.

    Everything else stays the same, so Triton keeps a version that is already loaded in
    place when only `versions` changes.
    """
    config = parse_config(stored, "the stored config")
    config.version_policy.Clear()
    config.version_policy.specific.versions.extend(versions)
    if not warmup:
        config.ClearField("model_warmup")
    return format_config(config)
