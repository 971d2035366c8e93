"""`pilotlight lint` as it is typed."""

import json
from pathlib import Path

import pytest

from pilotlight.commands.output import ExitCode
from tests.unit.generator.lint.trees import CONFIG, RANKER, Tree, graph, ranker, write
from tests.unit.pilotlight.test_command_line import invoked

ERROR = ranker(("[4, 8]", "[16]"))
WARNING: Tree = {**RANKER, "ranker/007/model.onnx": graph()}


def test_a_good_repository_is_told_as_such(tmp_path: Path) -> None:
    done = invoked("lint", str(write(tmp_path, RANKER)))

    assert (done.exit_code, done.stdout) == (ExitCode.DONE, "1 model: 0 errors, 0 warnings\n")


def test_a_finding_says_where_what_why_and_what_to_do(tmp_path: Path) -> None:
    done = invoked("lint", str(write(tmp_path, ERROR)))

    assert done.exit_code == ExitCode.FAILED
    assert done.stdout.splitlines() == [
        f"{tmp_path}/ranker/config.pbtxt:15: error PL205 preferred-batch-size: "
        "dynamic_batching.preferred_batch_size 16 is above max_batch_size 8",
        "  Triton refuses a preferred batch size outside of 1 and max_batch_size.",
        "  -> lower it, or raise max_batch_size",
        "1 model: 1 error, 0 warnings",
    ]


@pytest.mark.parametrize(
    ("tree", "options", "code"),
    [
        (ERROR, (), ExitCode.FAILED),
        (WARNING, (), ExitCode.DONE),
        (WARNING, ("--strict",), ExitCode.FAILED),
    ],
)
def test_warnings_fail_only_where_that_is_asked_for(
    tree: Tree, options: tuple[str, ...], code: ExitCode, tmp_path: Path
) -> None:
    assert invoked("lint", str(write(tmp_path, tree)), *options).exit_code == code


@pytest.mark.parametrize("how", [("--json",), ("--format", "json")])
def test_programs_are_told_the_same_in_json(how: tuple[str, ...], tmp_path: Path) -> None:
    done = invoked("lint", str(write(tmp_path, ERROR)), *how)

    assert done.exit_code == ExitCode.FAILED
    assert json.loads(done.stdout) == {
        "models": 1,
        "findings": [
            {
                "code": "PL205",
                "name": "preferred-batch-size",
                "severity": "error",
                "path": "ranker/config.pbtxt",
                "line": 15,
                "what": "dynamic_batching.preferred_batch_size 16 is above max_batch_size 8",
                "why": "Triton refuses a preferred batch size outside of 1 and max_batch_size.",
                "remedy": "lower it, or raise max_batch_size",
                "fixable": False,
            }
        ],
        "fixed": [],
    }


def test_sarif_is_one_document(tmp_path: Path) -> None:
    done = invoked("lint", str(write(tmp_path, ERROR)), "--format", "sarif")

    assert json.loads(done.stdout)["runs"][0]["results"][0]["ruleId"] == "PL205"


def test_github_gets_nothing_but_annotations(tmp_path: Path) -> None:
    done = invoked("lint", str(write(tmp_path, ERROR)), "--format", "github")

    (line,) = done.stdout.splitlines()
    assert line.startswith(f"::error file={tmp_path}/ranker/config.pbtxt,line=15,")


def test_what_was_fixed_is_told_and_no_longer_found(tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, "ranker/3.tmp/part": ""})
    assert invoked("lint", str(root)).stdout.endswith("1 error, 0 warnings; --fix repairs 1\n")

    done = invoked("lint", str(root), "--fix")

    assert done.exit_code == ExitCode.DONE
    assert done.stdout.splitlines() == [
        "fixed ranker/3.tmp is now called .3.tmp",
        "1 model: 0 errors, 0 warnings",
    ]


def test_the_release_decides_what_is_too_new(tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, "ranker/config.pbtxt": f"{CONFIG}model_metrics {{}}"})

    assert invoked("lint", str(root)).exit_code == ExitCode.DONE
    assert "PL701" in invoked("lint", str(root), "--triton", "24.10").stdout


def test_a_release_that_is_none_is_refused(tmp_path: Path) -> None:
    done = invoked("lint", str(tmp_path), "--triton", "newest")

    assert done.exit_code == ExitCode.FAILED
    assert "newest is no release" in done.stderr


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = invoked("lint", str(tmp_path / "gone"))

    assert done.exit_code == ExitCode.FAILED
    assert f"{tmp_path}/gone: No such file or directory" in done.stderr
