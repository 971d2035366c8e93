"""Tokens and the collector, as the settings file names them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.errors import InvalidSettings
from sidecar.settings import Role, Settings, load_settings
from tests.unit.sidecar.test_settings import COMPLETE

VERA = {"name": "vera", "role": "viewer", "file": "run/vera"}


def loaded(tmp_path: Path, **changes: Any) -> Settings:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump({**COMPLETE, **changes}))
    return load_settings(path)


def test_tokens_stand_beside_the_short_form(tmp_path: Path) -> None:
    api = loaded(tmp_path, api={"token_file": "run/token", "tokens": [VERA]}).api

    assert [(token.name, token.role, token.file) for token in api.all_tokens] == [
        ("operator", Role.OPERATOR, tmp_path / "run/token"),
        ("vera", Role.VIEWER, tmp_path / "run/vera"),
    ]


def test_tokens_let_the_api_listen_for_other_machines(tmp_path: Path) -> None:
    assert not loaded(tmp_path, api={"host": "::", "tokens": [VERA]}).api.is_loopback


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ({"tokens": [VERA, VERA]}, "two tokens are named vera; give each its own name"),
        (
            {"token_file": "t", "tokens": [{**VERA, "name": "operator"}]},
            "two tokens are named operator",
        ),
        (
            {"tokens": [{**VERA, "role": "root"}]},
            "role: 'root' cannot stand here; it takes 'viewer' or 'operator'",
        ),
        ({"tokens": [{**VERA, "name": "ve ra"}]}, "name: 've ra' cannot stand here; write"),
        ({"tokens": [{**VERA, "fiel": "x"}]}, "unknown key 'fiel'; did you mean 'file'?"),
    ],
)
def test_tokens_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, api: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        loaded(tmp_path, api=api)
    assert message in str(caught.value)


def test_a_collector_is_named_by_its_url(tmp_path: Path) -> None:
    assert loaded(tmp_path).otlp_endpoint is None
    url = "http://collector:4318"
    assert loaded(tmp_path, otlp_endpoint=url).otlp_endpoint == url
    with pytest.raises(InvalidSettings, match=r"otlp_endpoint: .* write a URL, such as http:"):
        loaded(tmp_path, otlp_endpoint="collector:4318")
