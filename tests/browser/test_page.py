"""The live page in a browser, with documents of cases that a real gateway shows seldom."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .documents import BROKER_DOWN, DRAINING, HOSTILE, IDLE, LOADED, Shown, scenes
from .static_server import ShownServer, open_server
from .watched import Watched, axe_findings

pytestmark = pytest.mark.browser

SIZES = [(360, 800), (768, 1024), (1121, 900), (1280, 900)]


@pytest.fixture
def server() -> Iterator[ShownServer]:
    with open_server(Shown()) as server:
        yield server


def rows(page: Page, table: str) -> Locator:
    return page.locator(f"#{table} tbody tr.row")


def open_page(page: Page, server: ShownServer) -> None:
    page.goto(server.url)
    expect(rows(page, "findings").first).to_be_attached()


def state_of(server: ShownServer) -> dict[str, Any]:
    return json.loads(server.shown.state(server.now))  # type: ignore[no-any-return]


def test_the_page_shows_the_numbers_of_the_document(page: Page, server: ShownServer) -> None:
    server.runs = False
    open_page(page, server)
    state = state_of(server)
    expect(page.locator("#sentence")).to_have_text(LOADED.text)
    expect(page.locator("#reasons li")).to_have_text(LOADED.reasons)
    expect(page.locator("h1")).to_have_text("Shop")
    expect(page.locator("#host")).to_have_text("gateway-7d9f-abcde:1")
    last = {name: column[-1] for name, column in state["history"]["series"].items()}
    for name in ("ok", "client_errors", "taken", "published", "in_flight"):
        shown = page.locator(f"#charts dd[data-series={name}]")
        assert float(shown.inner_text().replace(",", "")) == last[name]
    expect(rows(page, "endpoints")).to_have_count(len(state["endpoints"]) + 1)
    cells = rows(page, "endpoints").first.locator("td").all_inner_texts()
    first = state["endpoints"][0]
    names = ("ok", "empty", "gone", "client_errors", "server_errors")
    minute = [f"{first['minute'][name]:,.0f}" for name in names]
    assert cells[2:] == [f"{first['rate']:,.0f}", "1.1 ms", "15 ms", "<0.1 %", *minute]
    for table in ("queues", "producers", "links", "agents", "limits", "certificates", "workers"):
        expect(rows(page, table)).to_have_count(len(state[table]))
    expect(rows(page, "queues").first).to_contain_text(f"{state['queues'][0]['buffered']}")
    expect(rows(page, "certificates").first).to_contain_text("12")
    finding = rows(page, "findings").filter(has_text="prefetch_size has no effect")
    expect(finding).to_contain_text('extra_config["backend/amqp/consumer"].prefetch_size')


def test_the_page_asks_once_a_second_for_what_is_new(page: Page, server: ShownServer) -> None:
    open_page(page, server)
    page.wait_for_timeout(3000)
    assert 3 <= len(server.queries) <= 6
    assert server.queries[0] == ""
    assert all(re.fullmatch(r"since=\d+", query) for query in server.queries[1:])


def test_a_hidden_tab_asks_nothing(page: Page, server: ShownServer) -> None:
    open_page(page, server)
    set_hidden = """(hidden) => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(set_hidden, True)
    page.wait_for_timeout(300)  # a request that has begun ends
    asked = len(server.queries)
    page.wait_for_timeout(2500)
    assert len(server.queries) == asked
    expect(page.locator("#sentence")).to_have_text(LOADED.text)
    page.evaluate(set_hidden, False)
    page.wait_for_timeout(500)
    assert len(server.queries) > asked
    expect(page.locator("#sentence")).to_have_text(LOADED.text)


def test_the_sentence_follows_a_broker_that_goes_and_comes_back(
    page: Page, server: ShownServer
) -> None:
    server.shown = Shown(IDLE, load=0)
    open_page(page, server)
    state = page.locator("#state")
    expect(state).to_have_attribute("data-level", "ok")
    assert page.title() == "Serving: Shop"
    server.shown = Shown(BROKER_DOWN, broker_down=True)
    expect(state).to_have_attribute("data-level", "warning", timeout=2000)
    expect(page.locator("#sentence")).to_contain_text("1 of 2 brokers up")
    expect(page.locator("#links .level[data-level=critical]")).to_have_text("down")
    expect(page.locator("#links .problem").last).to_have_text("connection refused")
    server.shown = Shown(IDLE, load=0)
    expect(state).to_have_attribute("data-level", "ok", timeout=2000)
    expect(page.locator("#links .level[data-level=critical]")).to_have_count(0)


def test_a_gateway_that_does_not_answer_is_said_and_its_numbers_are_marked_as_old(
    page: Page, server: ShownServer
) -> None:
    open_page(page, server)
    server.is_silent = True
    expect(page.locator("#sentence")).to_have_text("No answer from the gateway.", timeout=6000)
    expect(page.locator("#age")).to_contain_text("The numbers below are of ")
    expect(page.locator("html")).to_have_class("stale")
    assert rows(page, "endpoints").count() == 6
    server.is_silent = False
    expect(page.locator("#sentence")).to_have_text(LOADED.text)
    expect(page.locator("#age")).to_be_empty()
    expect(page.locator("html")).not_to_have_class("stale")


def test_a_gateway_that_drains_is_followed_to_its_end(page: Page, server: ShownServer) -> None:
    open_page(page, server)
    server.shown = Shown(DRAINING)
    expect(page.locator("#sentence strong")).to_have_text("Draining.")
    server.is_silent = True
    expect(page.locator("#sentence strong")).to_have_text("Stopped.", timeout=6000)
    expect(page.locator("#state")).to_have_attribute("data-level", "unknown")


def test_another_start_of_the_gateway_begins_anew(page: Page, server: ShownServer) -> None:
    open_page(page, server)
    asked = len(server.queries)
    another = Shown(endpoints=4)
    another.boot = "another"
    server.shown = another
    expect(rows(page, "endpoints")).to_have_count(10)
    assert "" in server.queries[asked:]  # not only what is new


def test_a_refusal_is_shown(page: Page, server: ShownServer) -> None:
    server.status = 403
    page.goto(server.url)
    expect(page.locator("#sentence")).to_contain_text("status 403")
    expect(page.locator("#reasons")).to_have_text("only this machine may open the page")


def test_names_and_texts_from_outside_are_only_text(
    page: Page, watched: Watched, server: ShownServer
) -> None:
    server.shown = scenes()["hostile"]
    open_page(page, server)
    for name in HOSTILE[:4]:
        expect(rows(page, "endpoints").filter(has_text=name)).to_have_count(1)
        expect(rows(page, "queues").filter(has_text=name)).to_have_count(1)
        expect(rows(page, "findings").filter(has_text=name)).to_have_count(1)
    expect(rows(page, "failures").filter(has_text=HOSTILE[0]).first).to_be_visible()
    expect(rows(page, "links").filter(has_text=HOSTILE[0])).to_have_count(1)
    toggles = page.locator("#endpoints .toggle")
    for number in range(5, 5 + len(HOSTILE)):
        toggles.nth(number).click()
    expect(page.locator("#endpoints .box bdi", has_text=HOSTILE[1]).first).to_be_visible()
    # What would turn or hide the text around it is shown as an escape.
    expect(rows(page, "queues").filter(has_text="\\u202egnp.sredro")).to_have_count(1)
    expect(rows(page, "queues").filter(has_text="a\\u0000b\\u200bc ↵ d")).to_have_count(1)
    page.fill("#filter", "<img")
    expect(page.locator("#queues tr.row:visible")).to_have_count(1)
    assert page.locator("img, script:not([src]), iframe, [onerror]").count() == 0
    assert page.title() == "Serving: Shop"
    assert (watched.errors, watched.violations()) == ([], [])
    assert watched.hosts == {server.url.rstrip("/")}


@pytest.mark.parametrize("name", ["loaded", "hostile", "large"])
def test_no_page_is_wider_than_the_screen(page: Page, server: ShownServer, name: str) -> None:
    server.shown = scenes()[name]
    open_page(page, server)
    page.locator("#endpoints .toggle").nth(2).click()
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        # The charts follow in the next frames.
        page.evaluate("() => new Promise((go) => setTimeout(() => requestAnimationFrame(go), 100))")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width


def test_a_narrow_screen_has_all_numbers_and_can_sort_and_filter(
    page: Page, server: ShownServer
) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    open_page(page, server)
    row = rows(page, "endpoints").first
    for cell in row.locator("td").all():
        expect(cell).to_be_visible()
    expect(page.locator("#endpoints thead")).to_be_hidden()
    page.locator("#endpoints").get_by_label("Sort by").select_option("Errors")
    expect(row).to_contain_text("/customers/{id}")
    page.fill("#filter", "invoices")
    expect(page.locator("#endpoints tr:visible")).to_have_count(1)


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [("loaded", "light", 1280), ("hostile", "dark", 1280), ("down", "light", 360)],
)
def test_axe_finds_nothing(
    browser: Browser, server: ShownServer, name: str, scheme: Any, width: int
) -> None:
    server.shown = scenes()[name]
    size: Any = {"width": width, "height": 900}
    context = browser.new_context(color_scheme=scheme, viewport=size, reduced_motion="reduce")
    page = context.new_page()
    open_page(page, server)
    page.locator("#endpoints .toggle").nth(2).click()
    expect(page.locator("#endpoints .box").first).to_be_visible()
    found = axe_findings(page)
    context.close()
    assert found == []


def paths(page: Page) -> list[str]:
    return page.locator("#endpoints td.lead .name").all_inner_texts()


def test_everything_works_by_keyboard(page: Page, server: ShownServer) -> None:
    open_page(page, server)
    configured = paths(page)
    head = page.locator("#endpoints thead th", has_text="Req/s")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert paths(page)[0] == "/orders"
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert paths(page)[-1] == "/orders"
    page.keyboard.press("Enter")
    expect(head).not_to_have_attribute("aria-sort", re.compile(".*"))
    assert paths(page) == configured

    toggle = page.get_by_role("button", name="Details of GET /customers/{id}")
    toggle.focus()
    page.keyboard.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    details = page.locator(f"#{toggle.get_attribute('aria-controls')}")
    expect(details.get_by_text("loyalty:8080")).to_be_visible()
    expect(details.locator(".failures tbody tr").first).to_contain_text("status 404")
    assert details.locator(".bars li").count() >= 8
    page.keyboard.press("Space")
    expect(details).to_have_count(0)

    page.locator("body").press("/")
    expect(page.locator("#filter")).to_be_focused()
    page.keyboard.type("invoices")
    expect(page.locator("#endpoints tr.row:visible")).to_have_count(1)
    expect(page.locator("#endpoints .head")).to_contain_text("1 of 6")
    expect(page.locator("#producers tr.none")).to_have_text("Nothing here matches “invoices”.")
    page.keyboard.press("Escape")
    expect(page.locator("#endpoints tr.row:visible")).to_have_count(6)


def test_arrow_keys_move_through_the_history_of_all_charts(page: Page, server: ShownServer) -> None:
    server.runs = False
    open_page(page, server)
    chart = page.get_by_role("slider", name="Requests a second")
    chart.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    text = chart.get_attribute("aria-valuetext") or ""
    assert re.match(r"\d\d:\d\d:\d\d: delivered [\d,.]+, empty", text)
    assert int(chart.get_attribute("aria-valuenow") or 0) < 0
    titles = page.locator("live-chart h3")
    for number in range(4):
        expect(titles.nth(number)).to_contain_text(" at ")
    chart.blur()
    expect(titles.first).to_have_text("Requests a second")


def test_rows_keep_their_places_while_the_pointer_is_on_them(
    page: Page, server: ShownServer
) -> None:
    open_page(page, server)
    page.get_by_role("button", name="Req/s").click()
    page.get_by_role("button", name="Details of POST /orders").hover()
    server.shown = Shown(load=0)
    expect(rows(page, "endpoints").first.locator("td").nth(2)).to_have_text("0")
    assert paths(page)[:2] == ["/orders", "/orders"]
    page.mouse.move(5, 5)


def test_what_is_not_configured_is_said(page: Page, server: ShownServer) -> None:
    server.shown = scenes()["empty"]
    open_page(page, server)
    for text in (
        "No agents are configured.",
        "No queues are consumed.",
        "No brokers are configured.",
    ):
        expect(page.get_by_text(text)).to_be_visible()
    expect(page.locator("#workers")).to_be_hidden()


def test_memory_stays_flat(page: Page, server: ShownServer) -> None:
    """An hour and a half in some seconds: each answer is of a minute and a half later."""
    server.runs = False
    page.clock.install()
    open_page(page, server)
    page.locator("#endpoints .toggle").nth(2).click()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def live_for(answers: int) -> tuple[float, float]:
        """Nodes, and bytes of scripts."""
        for _ in range(answers):
            server.now_at_begin += 90
            with page.expect_response(lambda response: "__state" in response.url):
                page.clock.run_for(1000)
        for _ in range(3):  # what one round frees, holds what the next one frees
            session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        [size] = [each["value"] for each in metrics if each["name"] == "JSHeapUsedSize"]
        return session.send("Memory.getDOMCounters")["nodes"], size

    live_for(15)
    nodes, size = live_for(5)
    later_nodes, later_size = live_for(40)
    assert later_nodes <= nodes * 1.05
    assert later_size <= size * 1.15
