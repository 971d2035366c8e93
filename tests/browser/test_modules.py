"""The console's pure functions, in the browser that runs them."""

import pytest
from playwright.async_api import Page

from tests.browser.conftest import Look
from tests.unit.sidecar.test_api_served import Served

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

DEVICE = {"budget_bytes": 900, "held_bytes": 300, "reserved_bytes": 100, "leaving_bytes": 0}
HOLDERS = [
    {"model": "a", "server": "serving", "bytes": 100, "hold": "reserved"},
    {"model": "b", "server": "serving", "bytes": 298, "hold": "held"},
    {"model": "c", "server": "canary", "bytes": 1, "hold": "held"},
    {"model": "d", "server": "serving", "bytes": 1, "hold": "held"},
]
HELD = [["held", "b", 298], ["reserved", "a", 100], ["more", "2 smaller", 2]]
MODELS = [
    {"name": "b", "tier": "hot", "warmth": "warmed", "reason": "loaded", "p50_ms": None},
    {"name": "a", "tier": "cold", "warmth": "disk", "reason": "evicted for B", "p50_ms": 2.0},
    {"name": "c", "tier": "cold", "warmth": "disk", "reason": "not asked for", "p50_ms": None},
]


async def computed(page: Page, module: str, call: str, *given: object) -> object:
    """`call` names a function of the module."""
    return await page.evaluate(
        f"async given => (await import('/console/{module}.js')).{call}(...given)", list(given)
    )


async def test_figures_are_written_as_people_read_them(fleet: Served, look: Look) -> None:
    page = await look(fleet.url)
    for call, given, expected in (
        ("bytes", 0, "0 B"),
        ("bytes", 1536, "1.50 KiB"),
        ("bytes", -3 * 2**30, "-3.00 GiB"),
        ("milliseconds", None, "\u2013"),
        ("milliseconds", 0.25, "0.250 ms"),
        ("milliseconds", 1234, "1.23 s"),
        ("seconds", 0.04, "40 ms"),
        ("seconds", 59.6, "59 s"),
        ("seconds", 7300, "2 h"),
        ("span", 200_000, "2 d"),
        ("perHour", 0.01, "0"),
        ("perHour", 12345.6, "12,346"),
        ("label", "base_median_ms", "base median"),
    ):
        assert await computed(page, "format", call, given) == expected, (call, given)
    for name, value, expected in (
        ("held_bytes", 2**20, "1.00 MiB"),
        ("p_bad", 2.2843e-7, "2.28e-7"),
        ("pairs", 1200, "1,200"),
        ("largest_error", None, "∞"),
    ):
        assert await computed(page, "format", "figure", name, value) == expected


async def test_a_bar_is_the_budget_and_what_is_taken_of_it(fleet: Served, look: Look) -> None:
    page = await look(fleet.url)

    async def parts(free: int, headroom: float) -> list[list[object]]:
        device = {**DEVICE, "free_bytes": free, "holders": HOLDERS}
        found = await computed(page, "geometry", "segments", device, headroom)
        assert isinstance(found, list)
        assert sum(each["share"] for each in found) == pytest.approx(1.0)
        return [[each["kind"], each["label"], round(each["bytes"])] for each in found]

    headroom = ["headroom", "headroom", 100]
    assert await parts(500, 0.1) == [*HELD, ["free", "free", 500], headroom]
    others = ["others", "others on this machine", 200]
    assert await parts(300, 0.1) == [*HELD, others, ["free", "free", 300], headroom]
    assert await parts(-100, 0.1) == [*HELD, ["others", "others on this machine", 600]]


async def test_rows_in_view_and_some_beyond_are_drawn(fleet: Served, look: Look) -> None:
    page = await look(fleet.url)

    async def rows(top: int, count: int) -> object:
        view = {"top": top, "height": 340}
        return await computed(page, "geometry", "visible", view, 34, count, 2)

    assert await rows(0, 1000) == {"from": 0, "to": 12}
    assert await rows(3400, 1000) == {"from": 98, "to": 112}
    assert await rows(34_000, 1000) == {"from": 998, "to": 1000}
    assert await rows(3400, 5) == {"from": 4, "to": 5}
    assert await rows(0, 0) == {"from": 0, "to": 0}


async def test_models_are_chosen_and_ordered(fleet: Served, look: Look) -> None:
    page = await look(fleet.url)

    async def chosen(text: str = "", tier: str = "", warmth: str = "") -> str:
        wanted = {"text": text, "tier": tier, "warmth": warmth}
        found = await computed(page, "fleet", "filtered", MODELS, wanted)
        assert isinstance(found, list)
        return "".join(each["name"] for each in found)

    async def ordered(key: str, *, down: bool) -> str:
        order = {"key": key, "isDescending": down}
        found = await computed(page, "fleet", "sorted", MODELS, order)
        assert isinstance(found, list)
        return "".join(each["name"] for each in found)

    assert await chosen("b") == "ba"
    assert await chosen("FOR a") == "ac"
    assert await chosen(tier="cold", warmth="disk") == "ac"
    assert await ordered("name", down=False) == "abc"
    assert await ordered("tier", down=False) == "bac"
    assert await ordered("warmth", down=True) == "bac"
    assert await ordered("p50_ms", down=True) == "abc"


async def test_a_stream_is_read_in_whatever_pieces_it_comes(fleet: Served, look: Look) -> None:
    page = await look(fleet.url)
    found = await page.evaluate(
        r"""async () => {
          const { Parser } = await import("/console/sse.js");
          const parser = new Parser();
          const stream = ": ping\n\nevent: a\nid: 7\ndata: {\"x\":\ndata: 1}\n\nda" + "ta: 2\n\n";
          return [...stream].flatMap((character) => parser.push(character));
        }"""
    )
    assert found == [
        {"id": "7", "event": "a", "data": '{"x":\n1}'},
        {"id": None, "event": "message", "data": "2"},
    ]
