"""What is written for Envoy, and what is read from it; no Envoy needed."""

import json
import os
from pathlib import Path

import pytest

from sidecar.adapters.envoy.admin import parse_traffic
from sidecar.adapters.envoy.files import Folder
from sidecar.core.traffic import Answered, Traffic

KIND = "envoy.config.cluster.v3.Cluster"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "a" / "gateway")


def test_resources_are_written_with_their_kind_and_version(folder: Folder) -> None:
    version = folder.put("clusters", KIND, [{"name": "c"}])

    assert json.loads((folder.path / "clusters.json").read_text()) == {
        "version_info": version,
        "resources": [{"@type": f"type.googleapis.com/{KIND}", "name": "c"}],
    }


def test_the_same_resources_have_the_same_version_whoever_wrote_them(
    folder: Folder, tmp_path: Path
) -> None:
    version = folder.put("clusters", KIND, [{"name": "c", "type": "EDS"}])

    assert Folder(tmp_path).put("clusters", KIND, [{"type": "EDS", "name": "c"}]) == version
    assert folder.put("clusters", KIND, [{"name": "d", "type": "EDS"}]) != version
    assert folder.put("clusters", f"{KIND}2", [{"name": "c", "type": "EDS"}]) != version


def test_what_is_there_already_is_not_written_again(folder: Folder) -> None:
    """Envoy would take it up again."""
    folder.put("clusters", KIND, [{"name": "c"}])
    before = (folder.path / "clusters.json").stat()

    folder.put("clusters", KIND, [{"name": "c"}])
    same = (folder.path / "clusters.json").stat()
    folder.put("clusters", KIND, [{"name": "d"}])
    other = (folder.path / "clusters.json").stat()

    assert (same.st_ino, same.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert other.st_ino != before.st_ino


def test_only_we_can_read_them_for_they_may_hold_keys(folder: Folder) -> None:
    folder.write("listeners", "{}")

    assert (folder.path / "listeners.json").stat().st_mode & 0o077 == 0


def test_a_file_that_was_left_half_written_is_in_nobodys_way(folder: Folder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "clusters.new").write_text("half")

    folder.write("clusters", "{}")

    assert folder.contents() == {"clusters": "{}"}


def test_contents_are_on_the_disk_before_the_file_has_its_name(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power failure could leave an empty file under it."""
    folder.write("clusters", "old")
    fsync, flushed = os.fsync, []

    def spy(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append((os.pread(descriptor, 9, 0), folder.contents()["clusters"]))

    monkeypatch.setattr(os, "fsync", spy)
    folder.write("clusters", "new")

    assert flushed == [(b"new", "old")]
    assert folder.contents() == {"clusters": "new"}


@pytest.mark.parametrize("left", [b"", b"\0" * 512, b"\xff\xfe", b'{"version_info": "1", "resou'])
def test_a_file_that_a_power_failure_has_cut_off_is_written_anew(
    folder: Folder, left: bytes
) -> None:
    folder.write("clusters", "{}")
    (folder.path / "clusters.json").write_bytes(left)

    assert folder.contents().keys() == {"clusters"}
    folder.write("clusters", "{}")

    assert folder.contents() == {"clusters": "{}"}


def test_the_contents_can_be_put_back(folder: Folder) -> None:
    folder.write("clusters", "1")
    folder.write("listeners", "2")
    before = folder.contents()
    folder.write("clusters", "3")

    for name, text in before.items():
        folder.write(name, text)

    assert folder.contents() == {"clusters": "1", "listeners": "2"}


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="file"):
        Folder(tmp_path / "file" / "gateway").write("clusters", "{}")


def test_what_is_forgotten_is_written_anew_though_it_says_the_same(folder: Folder) -> None:
    folder.write("clusters", "1")
    before = (folder.path / "clusters.json").stat()

    folder.forget()
    folder.write("clusters", "1")
    anew = (folder.path / "clusters.json").stat()
    folder.write("clusters", "1")

    assert anew.st_ino != before.st_ino
    assert (folder.path / "clusters.json").stat().st_ino == anew.st_ino


# What Envoy has counted.


def requests(protocol: str, count: int, **labels: str) -> str:
    given = {"model": "m", "version": "-", "code": "200", "warmth": "hit", **labels}
    text = ",".join(f'{name}="{value}"' for name, value in given.items())
    return f"envoy_pilotlight_{protocol}_requests{{{text}}} {count}\n"


def test_requests_are_told_apart_by_version_code_and_outcome() -> None:
    page = (
        "# TYPE envoy_pilotlight_http_requests counter\n"
        + requests("http", 3)
        + requests("http", 2, version="7", code="404", warmth="cold")
        + requests("grpc", 1, code="14")
        + requests("http", 5, model="n")
        + 'envoy_cluster_upstream_rq{envoy_cluster_name="m"} 9\n'
    )

    found = parse_traffic(page)

    assert found["m"].answers == {
        Answered(version=None, code="200", outcome="hit"): 3,
        Answered(version=7, code="404", outcome="cold"): 2,
        Answered(version=None, code="grpc:14", outcome="hit"): 1,
    }
    assert found["m"].requests == 6
    assert found["n"].requests == 5
    assert found.keys() == {"m", "n"}


def test_open_streams_are_read_with_or_without_requests() -> None:
    page = 'envoy_pilotlight_streams_open{model="[\\"m\\"]"} 2\n' + requests("grpc", 1, model="n")

    found = parse_traffic(page)

    assert found["m"] == Traffic(open_streams=2)
    assert found["n"].open_streams == 0


def test_of_both_protocols_the_slower_one_counts() -> None:
    def ms(protocol: str, quantile: str, value: str) -> str:
        labels = f'model="m",quantile="{quantile}"'
        return f"envoy_pilotlight_{protocol}_ms{{{labels}}} {value}\n"

    page = (
        requests("http", 1)
        + ms("http", "0.5", "1.5")
        + ms("grpc", "0.5", "2.5")
        + ms("http", "0.99", "9")
        + ms("grpc", "0.99", "nan")
        + 'envoy_pilotlight_http_ms_sum{model="m"} 12\n'
    )

    assert (parse_traffic(page)["m"].p50_ms, parse_traffic(page)["m"].p99_ms) == (2.5, 9.0)
    assert parse_traffic(requests("http", 1))["m"].p50_ms is None


@pytest.mark.parametrize(
    ("label", "model"),
    [
        ("a b", "a b"),
        ("a}b", "a}b"),
        ('a\\"} 7', 'a"} 7'),
        ('m\\",code=\\"500', 'm",code="500'),
        ("a,version=9", "a,version=9"),
        ("ü", "ü"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_a_name_that_a_client_made_up_can_pretend_nothing(label: str, model: str) -> None:
    page = requests("http", 3, model=label) + requests("http", 1)

    found = parse_traffic(page)

    assert {name: seen.requests for name, seen in found.items()} == {model: 3, "m": 1}
    assert list(found[model].answers) == [Answered(version=None, code="200", outcome="hit")]


@pytest.mark.parametrize("version", ["-", "", "abc", "1.5", "-1", "9" * 5000, "²", "1 2"])
def test_a_version_that_is_none_is_told_as_none(version: str) -> None:
    found = parse_traffic(requests("http", 1, version=version))

    assert [kind.version for kind in found["m"].answers] == [None]


def test_requests_that_named_no_model_are_left_out() -> None:
    assert parse_traffic(requests("grpc", 4, model="")) == {}
