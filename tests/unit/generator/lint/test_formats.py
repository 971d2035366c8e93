from pathlib import Path

from generator.lint.formats import github, sarif
from generator.lint.rules import RULES
from tests.unit.generator.lint.trees import RANKER, found, ranker, write

BAD = ranker(("[4, 8]", "[16]"))


def test_sarif_has_every_rule_and_where_each_was_broken(tmp_path: Path) -> None:
    log = sarif(found(write(tmp_path, BAD)), Path("my models"), "1.0")

    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [each["id"] for each in rules] == [rule.code for rule in RULES]
    (result,) = run["results"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "PL205"
    assert result["level"] == "error"
    assert result["message"]["text"] == (
        "dynamic_batching.preferred_batch_size 16 is above max_batch_size 8; lower it, "
        "or raise max_batch_size"
    )
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "my%20models/ranker/config.pbtxt"},
                "region": {"startLine": 15},
            }
        }
    ]


def test_a_folder_has_no_line_in_sarif(tmp_path: Path) -> None:
    log = sarif(found(write(tmp_path, {**RANKER, ".git/HEAD": ""})), Path(), "1.0")

    (result,) = log["runs"][0]["results"]
    assert result["locations"] == [
        {"physicalLocation": {"artifactLocation": {"uri": ".git"}}},
    ]


def test_github_is_told_file_line_and_title(tmp_path: Path) -> None:
    assert github(found(write(tmp_path, BAD)), Path("models")) == (
        "::error file=models/ranker/config.pbtxt,line=15,title=PL205 preferred-batch-size::"
        "dynamic_batching.preferred_batch_size 16 is above max_batch_size 8; lower it, "
        "or raise max_batch_size\n"
    )


def test_what_github_would_misread_is_escaped(tmp_path: Path) -> None:
    root = write(tmp_path, {"100%, a:b/x": ""})

    (line,) = github(found(root), Path()).splitlines()

    assert line.startswith("::error file=100%25%2C a%3Ab,title=PL104 folder-is-no-model::it holds")
