"""`pilotlight replay` as people use it."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pilotlight.cli import app

GIB = 2**30
MODELS = f"model_id,size_bytes,load_cold_s\na,{GIB},10\nb,{GIB},10\n"
TRACE = "timestamp_s,model_id\n0,a\n4,a\n3600,b\n3630,a\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    (tmp_path / "models.csv").write_text(MODELS)
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def replayed(trace: Path, budget: str, *options: str) -> tuple[int, str]:
    models = str(trace.with_name("models.csv"))
    done = CliRunner().invoke(
        app, ["replay", str(trace), "--models", models, "--budget", budget, *options]
    )
    return done.exit_code, done.output


def rows(output: str) -> dict[str, list[str]]:
    """Cells without their units and without the bar, by policy."""
    cells = [line.replace("offline bound", "offline").split() for line in output.splitlines()]
    return {
        row[0]: [cell for cell in row[1:] if cell[0].isdigit() or cell == "-"]
        for row in cells
        if row and row[0] in {"lru", "gdsf", "value", "value+prewarm", "offline"}
    }


def test_policies_are_compared_with_lru_and_with_the_offline_bound(trace: Path) -> None:
    """10 + 6 + 10 + 10 s over four requests; with room for both, 10 + 6 + 10."""
    code, output = replayed(trace, "1GiB", "--policy", "gdsf")

    assert code == 0, output
    assert "4 requests for 2 models within 1.0 GiB" in output
    everybody = ["9.000", "10.0", "100.0", "3", "1", "1.00", "1.00"]
    assert rows(output) == {"lru": everybody, "gdsf": everybody, "offline": everybody}


def test_a_budget_can_be_a_share_of_all_models(trace: Path) -> None:
    code, output = replayed(trace, "100%")

    assert code == 0, output
    assert "within 2.0 GiB" in output
    assert rows(output).keys() == {"lru", "value", "value+prewarm", "offline"}
    assert rows(output)["value"][:4] == ["6.500", "10.0", "75.0", "2"]


def test_a_share_is_at_least_the_largest_model(trace: Path) -> None:
    assert "within 1.0 GiB" in replayed(trace, "1%")[1]


def test_a_budget_that_no_policy_can_live_on_is_called_so(trace: Path) -> None:
    trace.write_text("timestamp_s,model_id\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(9)))
    trace.with_name("models.csv").write_text(MODELS.replace(",10", ",100"))

    assert "the budget is too small, whatever the policy" in replayed(trace, "100%")[1]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("12Gb", "'12Gb' is no size; write for example '12GiB'"),
        ("half%", "'half%' is no budget; write for example '12GiB' or '20%'"),
        ("inf%", "'inf%' is no budget; write for example '12GiB' or '20%'"),
        ("1MiB", "model a holds 1.0 GiB, more than the budget of 1.0 MiB"),
    ],
)
def test_an_impossible_budget_is_an_error(trace: Path, budget: str, message: str) -> None:
    code, output = replayed(trace, budget)

    assert code == 1
    assert message in output


def test_the_comparison_is_drawn(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "waits.png"
    code, output = replayed(trace, "1GiB", "--png", str(picture))

    assert code == 0, output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_costs_no_result(trace: Path, tmp_path: Path) -> None:
    for name in ("waits.docx", "nowhere/waits.png"):
        code, output = replayed(trace, "1GiB", "--png", str(tmp_path / name))

        assert code == 1
        assert rows(output)
        assert "error: " in output


def test_without_the_library_a_chart_names_the_extra(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, output = replayed(trace, "1GiB", "--png", str(tmp_path / "waits.png"))

    assert code == 1
    assert "charts need matplotlib: pip install 'pilotlight[charts]'" in output
