"""Chromium, the page in it, and one fleet that is only looked at."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright, expect

from sidecar.core.release import ReleaseState
from sidecar.core.strategy import Approval, Strategy
from tests.browser.scene import DEADLINE_S, fleet_rig, loaded, shown
from tests.eventually import eventually
from tests.unit.sidecar.test_api_served import Served

CHROMIUM = "/usr/bin/chromium"
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IMAGES = Path(__file__).parents[2] / "docs" / "images"

# Good news goes by itself, whether anybody has looked or not.
NOTE = """
window.noted = [];
new MutationObserver((changes) => {
  for (const { addedNodes } of changes)
    for (const node of addedNodes)
      if (node.classList?.contains("notice")) window.noted.push(node.textContent);
}).observe(document, { childList: true, subtree: true });
"""

Look = Callable[..., Awaitable[Page]]
Shoot = Callable[[Page, str], Awaitable[None]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-screenshots",
        action="store_true",
        help="write docs/images/console-*.png, as `pytest tests/browser --write-screenshots`",
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=DEADLINE_S * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def look(browser: Browser) -> AsyncIterator[Look]:
    """Opens a page in a browser of its own; a mistake of the page fails the test."""
    mistakes: list[str] = []

    def noted(message: ConsoleMessage) -> None:
        # Answers other than 200 and lost connections belong to the stories.
        if message.type == "error" and "Failed to load resource" not in message.text:
            mistakes.append(message.text)

    def thrown(error: Error) -> None:
        mistakes.append(str(error))

    async with AsyncExitStack() as stack:

        async def open_page(url: str, **options: object) -> Page:
            context = await browser.new_context(**options)  # type: ignore[arg-type]
            stack.push_async_callback(context.close)
            await context.add_init_script(NOTE)
            page = await context.new_page()
            page.on("console", noted)
            page.on("pageerror", thrown)
            await page.goto(url)
            return page

        yield open_page
    assert mistakes == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A dozen models: one release soaks, one waits for a person, one was refused."""
    rig = await fleet_rig(tmp_path_factory.mktemp("fleet"))
    async with shown(rig) as served:
        for model in ("long_form", "query_rewrite", "spam", "session", "thumbnail"):
            await loaded(rig, model)
        asked = Strategy(approval=Approval.MANUAL)
        releases = rig.sidecar.releases
        await releases.begin("short_form", 5, actor="ann")
        await releases.begin("search_rank", 2, actor="ben", strategy=asked)

        async def is_where_it_shall_be() -> bool:
            states = [(await rig.newest_release(m)).state for m in ("short_form", "search_rank")]
            return states == [ReleaseState.SOAKING, ReleaseState.AWAITING]

        await eventually(is_where_it_shall_be, "one soaks, one waits", DEADLINE_S)
        yield served


@pytest.fixture
def shoot(request: pytest.FixtureRequest) -> Shoot:
    """Writes what is seen into the docs when that is asked for."""
    is_asked = request.config.getoption("--write-screenshots", default=False)

    async def write(page: Page, name: str) -> None:
        if is_asked:
            await page.screenshot(path=IMAGES / f"console-{name}.png", animations="disabled")

    return write
