"""What holds for every test: nobody blocks the loop, each has its deadline, and what was left out is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from tests.loopwatch import LoopWatch
from tests.services.parts import LEFT_OUT

SLOW_MARKERS = ("integration", "e2e")
SLOW_SECONDS = 180

# Time is judged per test, not per example: on a busy machine the hundredth one waits for a core, too.
hypothesis.settings.register_profile(
    "cachemgr", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("cachemgr")


@pytest.fixture(scope="session")
def _loop_watch() -> Iterator[LoopWatch]:
    watch = LoopWatch()
    watch.start()
    yield watch
    watch.stop()


@pytest.fixture(autouse=True)
def _the_loop_is_never_blocked(_loop_watch: LoopWatch) -> Iterator[None]:
    _loop_watch.blocks.clear()
    yield
    if _loop_watch.blocks:
        pytest.fail("cachemgr blocked the event loop here:\n" + _loop_watch.blocks[0], pytrace=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run the loops that kill and race FACTOR times as long, without a deadline (make torture)"
    parser.addoption("--torture", type=int, default=1, metavar="FACTOR", help=text)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How often a loop goes round: `rounds(30)` is 30, and so many times more under `make torture`."""
    factor: int = request.config.getoption("--torture")
    return lambda sample: sample * factor


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if config.getoption("--torture") > 1 and item.get_closest_marker("torture"):
            item.add_marker(pytest.mark.timeout(0), append=False)
        slow = any(item.get_closest_marker(name) for name in SLOW_MARKERS)
        if slow and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if LEFT_OUT in reason:
            left_out[reason.partition(LEFT_OUT)[2]] += 1
    if left_out:
        terminalreporter.section("real parts that were left out")
        for part, count in sorted(left_out.items()):
            terminalreporter.line(f"{part}: {count} left out")
        terminalreporter.line(
            "As root on Debian `make test` installs them; CACHEMGR_REQUIRE_PARTS=1 makes this a failure."
        )
