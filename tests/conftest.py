"""What holds for all tests."""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set, a test that is skipped has failed: there, all it needs is installed.

    A test that can't always run, even so, says so with `@pytest.mark.may_skip(reason=...)`.
    """
    report = yield
    expected = item.get_closest_marker("may_skip") or hasattr(report, "wasxfail")
    if report.skipped and os.environ.get("CI") and not expected:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {reason}"
    return report
