"""What all tests share."""

pytest_plugins = ["tests.fixtures.embedded", "tests.fixtures.example"]
