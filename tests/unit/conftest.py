"""What all unit tests share."""

from hypothesis import HealthCheck, settings

# An example takes milliseconds, and the machine may stand still for seconds.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
