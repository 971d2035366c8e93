"""Ask a test that failed once more, with all that it stands on made anew.

With `--once-more` only. pytest-rerunfailures keeps what a module's or the session's fixtures hold,
where the first try has left its traces: a version that is added is there already.
"""

import pytest
from _pytest.runner import call_and_report

TIMED_OUT = "from pytest-timeout"
_ASKED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--once-more",
        action="store_true",
        help="ask a test that failed, and did not hang, once more with fresh fixtures",
    )


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not item.config.getoption("--once-more"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = _asked(item, nextitem)
    failed = [report for report in reports if report.failed]
    is_first = _ASKED not in item.stash
    item.stash[_ASKED] = True
    is_next = bool(failed) and is_first and not any(map(_has_hung, failed))
    if is_next:
        for report in failed:
            report.outcome = "rerun"  # type: ignore[assignment]
    for report in failed if is_next else reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    if is_next:
        # By the hook, for a time limit of its own.
        item.ihook.pytest_runtest_protocol(item=item, nextitem=nextitem)
    return True


def _asked(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """What fails leaves nothing to the tests after it."""
    item._initrequest()  # type: ignore[attr-defined]
    reports = [call_and_report(item, "setup", log=False)]
    if reports[0].passed:
        reports.append(call_and_report(item, "call", log=False))
    then = None if any(report.failed for report in reports) else nextitem
    reports.append(call_and_report(item, "teardown", log=False, nextitem=then))
    item.funcargs = None  # type: ignore[attr-defined]
    return reports


def _has_hung(report: pytest.TestReport) -> bool:
    return TIMED_OUT in report.longreprtext


def pytest_report_teststatus(
    report: pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    if report.outcome != "rerun":  # type: ignore[comparison-overlap]
        return None
    return "rerun", "R", ("RERUN", {"yellow": True})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why a test was asked once more: what passed the second time is still to be mended."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"RERUN {report.nodeid}", yellow=True)
        terminalreporter.write_line(report.longreprtext)
