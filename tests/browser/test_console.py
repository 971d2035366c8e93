"""The console as people use it, in a real browser, over a whole sidecar on fake servers."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from sidecar.core.release import ReleaseState
from sidecar.core.strategy import Approval, Outputs, Strategy
from tests.browser.conftest import Look, Shoot
from tests.browser.scene import DEADLINE_S, loaded, many_rig, restarted, shown, until
from tests.builders import publish
from tests.unit.sidecar.client import OPERATOR, ROLES, VIEWER
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

S = ReleaseState
LIVE = "live"


def two_models(root: Path, **faults: list[str]) -> Rig:
    """A hot `m`, to be released later, and a cold `c`; a soak goes on until somebody ends it."""
    rig = Rig(root, **faults)
    rig.policy = replace(rig.policy, soak_s=3600.0)
    publish(rig.store, "m", 1, tier="hot")
    publish(rig.store, "c", 1)
    return rig


def row(page: Page, model: str) -> Locator:
    return page.locator("#models-table tr").filter(
        has=page.get_by_role("button", name=model, exact=True)
    )


def release(page: Page, said: str) -> Locator:
    return page.locator("#releases > li").filter(has_text=said).first


async def is_live(page: Page) -> None:
    await expect(page.locator("#link")).to_have_text(LIVE)


async def confirm(page: Page, question: str, button: str) -> None:
    dialog = page.get_by_role("dialog", name=question)
    await dialog.get_by_role("button", name=button, exact=True).click()
    await expect(dialog).to_be_hidden()


async def is_noted(page: Page, said: str) -> None:
    await page.wait_for_function(
        "said => window.noted.some((each) => each.includes(said))",
        arg=said,
        timeout=DEADLINE_S * 1000,
    )


async def hide(page: Page, is_hidden: str) -> None:
    """As if the tab was left, or looked at again."""
    await page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{value: {is_hidden}, configurable: true}});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


async def until_focused(page: Page, wanted: Locator, most: int = 30) -> None:
    """Press Tab until it has the focus."""
    for _ in range(most):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("node => node === document.activeElement"):
            return
    await expect(wanted).to_be_focused()


async def test_the_page_shows_the_fleet(fleet: Served, look: Look) -> None:
    page = await look(fleet.url)
    await is_live(page)
    await expect(page.locator("#ready")).to_have_text("ready")

    bar = page.locator("#devices .bar")
    held = re.compile(r"short_form 824 MiB, .*free .*, headroom 205 MiB")
    await expect(bar).to_have_attribute("aria-label", held)
    await expect(page.locator("#models-count")).to_have_text(re.compile("^12 models, "))

    cells = row(page, "short_form").locator("td")
    await expect(cells.nth(0)).to_have_text("hot")
    await expect(cells.nth(1)).to_have_text("warmed")
    await expect(cells.nth(2)).to_have_text("4")
    rhythm = re.compile(r"requests, most between \d+:00 and \d+:00 UTC$")
    await expect(cells.nth(3).locator("svg")).to_have_attribute("aria-label", rhythm)
    await expect(cells.nth(5)).to_have_text("1.90 ms")
    cold = row(page, "long_form").locator(".c-cold_starts")
    await expect(cold).to_have_text(re.compile(r"^1 · [\d.]+ m?s$"))

    soaking = release(page, "short_form 4 → 5")
    await expect(soaking.locator(".state")).to_have_text("soaking")
    await expect(soaking).to_contain_text(re.compile(r"watched .+ of 10 min"))
    await soaking.locator("summary").click()
    latency = soaking.get_by_role("row").filter(has_text="latency: batch 1")
    await expect(latency).to_contain_text("✓ pass")
    await expect(latency).to_contain_text("version median")

    waiting = release(page, "search_rank 1 → 2")
    await expect(waiting).to_contain_text("waits for a person to promote or abort it")
    await expect(page.locator("#events")).to_contain_text("release moved")


async def test_what_happens_is_seen_without_a_reload(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        await expect(row(page, "c")).to_contain_text("disk")
        await loaded(rig, "c")
        await expect(row(page, "c")).to_contain_text("warmed")
        await expect(row(page, "c").locator(".c-cold_starts")).to_contain_text("1 · ")
        await expect(page.locator("#events li").first).to_contain_text("c")
        publish(rig.store, "new", 1)
        await expect(row(page, "new")).to_be_visible()


async def test_a_newer_version_that_nobody_has_released_is_seen(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        version = row(page, "m").locator(".c-serving_version")
        await expect(version).to_have_text("1")
        await expect(page.locator("#models-count")).to_have_text("2 models, 1 warm")

        publish(rig.store, "m", 2, tier="hot")

        await expect(version).to_have_text("1 → 2")
        said = "nobody has released version 2"
        await expect(version.locator(".pending")).to_have_attribute("title", said)
        count = "2 models, 1 warm, 1 with a newer version to release"
        await expect(page.locator("#models-count")).to_have_text(count)
        await page.get_by_role("button", name="m", exact=True).first.click()
        await expect(page.locator("#detail li").first).to_contain_text("2not released yet")

        await rig.sidecar.releases.begin("m", 2, actor="ann")

        await expect(version).to_have_text(re.compile("^[12]$"))
        await expect(page.locator("#models-count")).to_have_text("2 models, 1 warm")


async def test_a_promotion_asks_first_and_is_rolled_back(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        publish(rig.store, "m", 2, tier="hot")
        await page.get_by_role("button", name="m", exact=True).first.click()
        await page.get_by_role("button", name="Release m 2").click()
        await page.get_by_label("ask a person before it gets requests").check()
        await confirm(page, "Release m 2?", "Release")
        card = release(page, "m 1 → 2")
        await expect(card).to_contain_text("waits for a person to promote or abort it")

        await card.get_by_role("button", name="Promote").click()
        await confirm(page, "Promote m 2?", "Cancel")
        assert (await rig.newest_release()).state is S.AWAITING
        await card.get_by_role("button", name="Promote").click()
        await confirm(page, "Promote m 2?", "Promote")
        await expect(card.locator(".state")).to_have_text("soaking")
        await is_noted(page, "Promote m 2: done")
        await card.get_by_role("button", name="Promote").click()
        await confirm(page, "Promote m 2?", "Promote")
        await expect(card.locator(".state")).to_have_text("done")
        await expect(row(page, "m").locator("td").nth(2)).to_have_text("2")

        await card.get_by_role("button", name="Roll m back to 1").click()
        await confirm(page, "Roll m back to 1?", "Roll back")
        await expect(card.locator(".state")).to_have_text("rolled back")
        await expect(row(page, "m").locator("td").nth(2)).to_have_text("1")
        assert await rig.recorded() == 1


async def test_a_release_is_paused_resumed_and_aborted(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        publish(rig.store, "m", 2, tier="hot")
        asked = Strategy(approval=Approval.MANUAL, latency_margin=None, outputs=Outputs.ANY)
        await rig.sidecar.releases.begin("m", 2, actor="ann", strategy=asked)
        card = release(page, "m 1 → 2")
        await card.get_by_role("button", name="Pause").click()
        await confirm(page, "Pause the release of m 2?", "Pause")
        await expect(card).to_contain_text("waits for a person to resume it")
        await card.get_by_role("button", name="Resume").click()
        await confirm(page, "Resume the release of m 2?", "Resume")
        await expect(card).to_contain_text("waits for a person to promote or abort it")
        await card.get_by_role("button", name="Abort").click()
        await confirm(page, "Abort the release of m 2?", "Abort")
        await expect(card.locator(".state")).to_have_text("refused")
        assert await rig.recorded() == 1


async def test_a_refusal_is_shown_with_its_remedy(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(f"{served.url}/#model=m")
        await page.get_by_role("button", name="Unload m").click()
        await confirm(page, "Unload m?", "Unload")
        told = page.get_by_role("alert")
        await expect(told).to_contain_text("Unload m: A hot model stays loaded")
        await expect(told).to_contain_text("make its tier cold first")
        await told.get_by_role("button", name="Dismiss").click()
        await expect(told).to_be_hidden()


async def test_what_fails_after_it_was_accepted_is_told_too(tmp_path: Path, look: Look) -> None:
    """And markup in what a backend says stays text."""
    rig = two_models(tmp_path)
    said = "<img src=x onerror='window.hacked=1'> no such op"
    publish(rig.store, "broken", 1, broken=said)
    async with shown(rig) as served:
        page = await look(f"{served.url}/#model=broken")
        await page.get_by_role("button", name="Load broken").click()
        await confirm(page, "Load broken?", "Load")
        await expect(page.get_by_role("alert")).to_contain_text(said)
        await expect(page.locator("#detail .why")).to_contain_text(said)
        await expect(page.locator("#events")).to_contain_text(said)
        await expect(page.locator("main img, #detail img, #notices img")).to_have_count(0)
        assert await page.evaluate("window.hacked") is None


async def test_trouble_is_on_top_and_goes_with_its_cause(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        await is_live(page)
        await expect(page.locator("#trouble")).to_be_hidden()
        rig.serving.kill()
        await expect(page.locator("#ready")).to_have_text("not ready")
        await expect(page.locator("#trouble")).to_contain_text("no answer from serving server")
        rig.serving.restart()
        await expect(page.locator("#ready")).to_have_text("ready")
        await expect(page.locator("#trouble")).to_be_hidden()

        rig.state.problem = "database or disk is full"
        await expect(page.locator("#trouble")).to_contain_text("database or disk is full")
        rig.state.problem = None
        await expect(page.locator("#trouble")).to_be_hidden()
        await is_live(page)


async def test_a_viewer_sees_everything_and_is_told_why_nothing_can_be_changed(
    tmp_path: Path, look: Look
) -> None:
    rig = two_models(tmp_path)
    async with shown(rig, ROLES) as served:
        page = await look(f"{served.url}/#model=c")
        dialog = page.get_by_role("dialog", name="This sidecar wants a token")
        await page.locator("#token-field").fill("guessed")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_have_text(
            "The sidecar does not know this token."
        )
        await page.locator("#token-field").fill(VIEWER)
        await page.keyboard.press("Enter")

        await expect(page.locator("#caller")).to_contain_text("vera, viewer")
        await expect(row(page, "c")).to_be_visible()
        load = page.get_by_role("button", name="Load c")
        await expect(load).to_have_attribute("aria-disabled", "true")
        await load.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text(
            "Load c: vera is a viewer; this needs an operator's token"
        )
        assert "operation_accepted" not in rig.told("c")
        assert await page.evaluate("[Object.values(sessionStorage), localStorage.length]") == [
            [VIEWER],
            0,
        ]


async def test_a_token_can_be_forgotten_and_another_given(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig, ROLES) as served:
        page = await look(f"{served.url}/#model=c")
        await page.locator("#token-field").fill(VIEWER)
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Forget token").click()
        await page.locator("#token-field").fill(OPERATOR)
        await page.keyboard.press("Enter")
        await expect(page.locator("#caller")).to_contain_text("otto, operator")
        await page.get_by_role("button", name="Warm c up").click()
        await confirm(page, "Warm c up?", "Warm up")
        await expect(row(page, "c")).to_contain_text("warmed")
        await is_noted(page, "Warm c up: done")


async def test_a_thousand_models_cost_a_window_of_rows(tmp_path: Path, look: Look) -> None:
    rig = many_rig(tmp_path, 1000)
    async with shown(rig) as served:
        page = await look(served.url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await expect(page.locator("#models-count")).to_have_text("1,000 models, 0 warm")
        rows = page.locator("#models-table tbody:not(.gap) tr")
        assert await rows.count() < 60
        await expect(page.locator("#models-table")).to_have_attribute("aria-rowcount", "1001")

        await page.locator("#models-view").hover()
        await page.mouse.wheel(0, 500 * 34)
        await expect(row(page, "model_0500")).to_be_visible()
        assert await rows.count() < 60

        await page.get_by_role("columnheader", name="Model").get_by_role("button").click()
        await page.get_by_role("columnheader", name="Model").get_by_role("button").click()
        heading = page.get_by_role("columnheader", name="Model")
        await expect(heading).to_have_attribute("aria-sort", "descending")

        await page.get_by_label("Name or reason").fill("0999")
        await expect(rows).to_have_count(1)
        await expect(page.locator("#models-count")).to_have_text("1 of 1,000 models, 0 warm")

        def is_asked_by_name() -> bool:
            return any(re.search(r"[?&]name=model_09\d\d$", url) for url in asked)

        # One may be seen when all are asked for, as they are now and then.
        names = [f"model_{number:04}" for number in range(990, 1000)]
        while not is_asked_by_name():
            name = names.pop()
            await page.get_by_label("Name or reason").fill(name)
            await loaded(rig, name)
            await expect(row(page, name)).to_contain_text("warmed")


async def test_a_lost_connection_is_told_and_comes_back_by_itself(
    tmp_path: Path, look: Look
) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        await is_live(page)
        served.server.end()
        await asyncio.wait_for(asyncio.shield(served.serving), DEADLINE_S)
        await expect(page.locator("#link")).to_contain_text("connection lost at ")
        await expect(page.locator("#ready")).to_have_text("readiness unknown")

        await loaded(rig, "c")
        async with restarted(rig, served):
            await is_live(page)
            await expect(row(page, "c")).to_contain_text("warmed")


async def test_nobody_is_asked_while_nobody_looks(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        await is_live(page)
        await hide(page, "true")
        await until(rig, lambda: served.readers() == 0, "the stream is let go")
        await expect(page.locator("#link")).to_have_text("not connected")
        await hide(page, "false")
        await is_live(page)


async def test_everything_can_be_done_with_the_keyboard(tmp_path: Path, look: Look) -> None:
    rig = two_models(tmp_path)
    async with shown(rig) as served:
        page = await look(served.url)
        await is_live(page)
        await expect(row(page, "c")).to_be_visible()
        press = page.keyboard.press
        await press("Tab")
        await expect(page.get_by_text("Skip to the models")).to_be_focused()
        await press("Enter")
        await until_focused(page, page.get_by_label("Name or reason"))
        await until_focused(page, page.get_by_role("button", name="c", exact=True).first)
        await press("ArrowDown")
        await expect(page.get_by_role("button", name="m", exact=True).first).to_be_focused()
        await press("Home")
        await expect(page.get_by_role("button", name="c", exact=True).first).to_be_focused()
        await press("Enter")
        await expect(page.locator("#detail h2")).to_be_focused()
        await expect(page.locator("#detail h2")).to_have_text("c")

        await expect(page.get_by_role("button", name="Load c")).to_be_visible()
        await until_focused(page, page.get_by_role("button", name="Load c"))
        await press("Enter")
        await expect(page.get_by_role("dialog", name="Load c?")).to_be_visible()
        await press("Escape")
        await expect(page.get_by_role("button", name="Load c")).to_be_focused()
        await press("Enter")
        await expect(page.locator("#confirm-yes")).to_be_visible()
        await until_focused(page, page.locator("#confirm-yes"))
        await press("Enter")
        await expect(row(page, "c")).to_contain_text("warmed")
        await page.locator("#detail h2").focus()
        await press("Escape")
        await expect(page.locator("#detail")).to_be_hidden()
        await expect(page.get_by_role("button", name="c", exact=True).first).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_accessible(fleet: Served, look: Look, shoot: Shoot, scheme: str) -> None:
    page = await look(fleet.url, color_scheme=scheme, viewport={"width": 1280, "height": 1180})
    await is_live(page)
    await expect(release(page, "search_rank 1 → 2")).to_be_visible()
    await shoot(page, scheme)
    await page.locator("#devices summary").click()
    await release(page, "search_rank 1 → 2").locator("summary").click()
    await page.get_by_role("button", name="search_rank").first.click()
    await expect(page.locator("#detail")).to_contain_text("A load takes")
    assert await flaws(page) == []
    if scheme == "light":
        await release(page, "search_rank 1 → 2").evaluate("node => node.scrollIntoView()")
        await shoot(page, "release")
    await page.get_by_role("button", name="Unload search_rank").click()
    await expect(page.get_by_role("dialog", name="Unload search_rank?")).to_be_visible()
    assert await flaws(page) == []


async def test_a_narrow_screen_needs_no_scrolling_sideways(
    fleet: Served, look: Look, shoot: Shoot
) -> None:
    page = await look(fleet.url, viewport={"width": 390, "height": 844})
    await is_live(page)
    await expect(row(page, "short_form")).to_be_visible()
    width = "document.documentElement.scrollWidth"
    assert await page.evaluate(width) == 390
    await shoot(page, "narrow")
    await row(page, "short_form").get_by_role("button").click()
    await expect(page.locator("#detail")).to_contain_text("short_form")
    assert await page.evaluate(width) == 390


async def test_the_theme_is_chosen_and_kept(fleet: Served, look: Look) -> None:
    page = await look(fleet.url, color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = await page.evaluate(ground)
    await page.get_by_role("button", name="Theme: system").click()
    assert await page.evaluate(ground) != dark
    await page.reload()
    await expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    assert await page.evaluate(ground) != dark


async def flaws(page: Page) -> list[str]:
    found = await Axe().run(page)
    return [
        f"{each['id']}: {node['html']}"
        for each in found.response["violations"]
        for node in each["nodes"]
    ]
