"""A sidecar on fake servers behind a real port, as the commands meet it."""

from tests.unit.sidecar.test_api_served import served

__all__ = ["served"]
