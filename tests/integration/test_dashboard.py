"""The dashboard in a real browser: it moves, adds up, survives, and shows hostile names as text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.browser import Browser, open_browser
from tests.endpoint import Endpoint, endpoint, worker_says
from tests.watched_service import HOSTILE, ORDINARY, free_port, watched_service

pytestmark = pytest.mark.heavy("browser")

RATES = """
    const cells = [...document.querySelectorAll('[data-label="Requests/s"], #requests, #fetches, .legend b')];
    return cells.map((cell) => cell.textContent);
"""
NAMES = "return [...document.querySelectorAll('#tbody tr:not([hidden]) .pick')].map((name) => name.textContent)"


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """The browser on an empty page, as wide as a desk; after a test, nothing has violated the page's policy."""
    one_browser.go("about:blank")
    one_browser.resize(1400, 1000)
    one_browser.logged()
    yield one_browser
    logged = [line for line in one_browser.logged() if "Failed to load resource" not in line]
    one_browser.go("about:blank")
    assert logged == []


@pytest.fixture
def told() -> Iterator[Endpoint]:
    """An endpoint that says what the test says."""
    with endpoint() as told:
        yield told


def watch(browser: Browser, address: str, *, every: int = 1) -> None:
    """Open the page and have it ask often."""
    browser.go(address)
    browser.until("return !document.getElementById('main').hidden || !document.getElementById('locked').hidden")
    browser.run(
        "const every = document.getElementById('every'); every.value = arguments[0];"
        "every.dispatchEvent(new Event('change'))",
        str(every),
    )


def page(told: Endpoint) -> str:
    return f"{told.url}/health/coalescer"


def test_the_numbers_move_when_requests_are_made(browser):
    """A stampede on the service is seen in tiles, table, chart and legend, without a reload"""
    with watched_service() as service:
        watch(browser, service.health)
        browser.until("return document.getElementById('requests').textContent === '0/s'")
        assert not browser.shows("#empty")
        service.ask(100)
        browser.until("return document.getElementById('requests-under').textContent === '100 since the start'")
        assert browser.text("#fetches-under") == "1 since the start"
        assert browser.text("#saved") == "99.0%"
        assert browser.run("return document.querySelector('#chart-svg .coalesced').getAttribute('d')") != ""
        assert browser.run("return document.querySelector('#tbody .coalesced[d]').getAttribute('d')") != ""


def test_a_held_origin_is_seen_as_flight_and_as_reason(browser):
    """While the origin hangs, its flight ages and the reasons say so; when it answers, both end"""
    with watched_service() as service:
        watch(browser, service.health)
        service.ask(12, key="held")
        browser.until("return document.getElementById('flights').textContent === '1'")
        assert browser.text("#flights-under") == "11 callers wait beside"
        assert browser.text("#oldest-under") == "Service.fixtures"
        browser.until("return document.querySelector('#state.degraded') !== null")
        assert "Service.fixtures" in browser.text("#reasons")
        assert browser.text("#said").startswith("Health: degraded.")
        service.release()
        browser.until("return document.querySelector('#state.healthy') !== null")
        assert browser.text("#flights") == "0"


def test_four_workers_never_show_a_negative_rate(browser):
    """Four real workers behind one address: their numbers add up, and no rate is ever below zero"""
    with watched_service(workers=4) as service:
        watch(browser, service.health)
        browser.until("return fleet.workers.size === 4")
        seen, asked = [], set()
        for number in range(12):
            asked |= {service.ask(5, key=str(number)), service.ask(3, name=ORDINARY[1], key=str(number))}
            time.sleep(0.5)
            seen += browser.run(RATES)
        assert len(asked) > 1, "all requests came to one worker: nothing was tried"
        browser.until("return document.getElementById('requests-under').textContent === '96 since the start'")
        assert any(re.match("[1-9]", rate) for rate in seen)
        assert [rate for rate in seen if "-" in rate or "NaN" in rate] == []
        assert "4 of 4 workers" in browser.text("#workers-line")


def test_a_worker_that_begins_again_gives_no_negative_rate(browser, told):
    """Numbers that fall, as after a restart, a reset or a reload of a function, are counted from zero"""
    many = {"shop.fixtures": {"cache_hits": 900, "led_requests": 100, "fetches": 100}}
    told.say(worker_says("a", uptime=50, functions=many), worker_says("b", uptime=20, functions=many))
    watch(browser, page(told))
    browser.until("return fleet.workers.size === 2")
    few = {"shop.fixtures": {"cache_hits": 9, "led_requests": 1, "fetches": 1}}
    reset = {"shop.fixtures": {"cache_hits": 950, "led_requests": 150, "fetches": 150, "resets": 1}}
    told.say(worker_says("a", uptime=60, functions=few), worker_says("b", uptime=30, functions=reset))
    browser.until("return document.getElementById('requests').textContent === '111/s'")
    assert browser.text("#fetches") == "15.1/s"
    told.say(worker_says("a", uptime=1, functions=few), worker_says("b", uptime=40, functions=reset))
    browser.until("return document.getElementById('requests').textContent === '0/s'")


def test_the_chart_shows_every_request_once(browser, told):
    """A worker that was not heard in a round is drawn with its last rates, and set right when it speaks again"""
    watch(browser, page(told))
    browser.click("#pause")
    browser.until("return !asking")

    def says(instance, uptime, hits):
        return worker_says(instance, uptime=uptime, functions={"shop.fixtures": {"cache_hits": hits}})

    rounds = [
        [says("x", 10, 0), says("y", 10, 0)],
        [says("x", 12, 600), says("y", 12, 900)],
        [says("x", 14, 600)],
        [says("x", 16, 600), says("y", 16, 900)],
    ]
    browser.run(
        "fleet.workers.clear(); memory.clear(); momentEnded = 1000;"
        "arguments[0].forEach((answers, round) => arrived(answers, 1002 + 2 * round))",
        rounds,
    )
    drawn = """
        return [ALL, 'shop.fixtures'].map((name) => memory.get(name).map(({ rates }) => rates && rates.hits))"""
    assert browser.run(drawn) == [[None, 750, 0, 0], [None, 750, 0, 0]]


def test_a_silent_worker_is_left_out_and_that_is_said(browser, told):
    """A worker that is silent for twenty rounds of questions goes, with its numbers, and the page names it"""
    rows = {"shop.fixtures": {"led_requests": 7, "fetches": 7, "in_flight": 2}}
    told.say(worker_says("a", pid=11, functions=rows), worker_says("b", pid=22, functions=rows))
    watch(browser, page(told))
    browser.until("return fleet.workers.size === 2")
    assert browser.text("#requests-under") == "14 since the start"
    told.say(worker_says("a", pid=11, functions=rows))
    browser.run("for (let round = 0; round < 6; round += 1) fleet.take([fleet.workers.get('a')], 0)")
    browser.until("return document.getElementById('workers-line').textContent.startsWith('1 of 2 workers')")
    assert browser.text("#flights") == "2"  # what a silent worker had in the air is not known to be there
    browser.run("for (let round = 0; round < 20; round += 1) fleet.take([fleet.workers.get('a')], 0)")
    browser.until("return document.getElementById('workers-line').textContent.includes('pid 22 left out')")
    assert browser.text("#requests-under") == "7 since the start"


def test_a_service_that_goes_away_and_returns(browser):
    """Without an answer the page says since when and keeps the last numbers, greyed; an answer ends that"""
    port = free_port()
    with watched_service(port=port) as service:
        watch(browser, service.health)
        service.ask(50)
        browser.until("return document.getElementById('requests-under').textContent === '50 since the start'")
    browser.until("return document.getElementById('frame').classList.contains('gone')")
    assert re.match(r"No answer since \d\d:\d\d:\d\d, for \d+ s", browser.text("#notice-what"))
    assert browser.text("#requests-under") == "50 since the start"
    assert browser.text("#said").startswith("The service does not answer.")
    assert browser.run("return document.title").startswith("✕")
    with watched_service(port=port) as service:
        browser.until("return !document.getElementById('frame').classList.contains('gone')")
        assert browser.text("#said").startswith("The service answers again.")
        assert browser.text("#workers-line") == "1 of 2 workers answered lately"  # whoever was there has to speak anew
        service.ask(3)
        browser.until("return document.getElementById('requests-under').textContent === '53 since the start'")
        assert [rate for rate in browser.run(RATES) if "-" in rate] == []


@pytest.mark.parametrize(
    ("status", "content_type", "text", "why"),
    [
        (500, "text/plain", "oh", "answered with status 500"),
        (200, "application/json", "[1]", "something other than its numbers"),
        (200, "application/json", '{"functions": null}', "something other than its numbers"),
        (200, "text/html", "<p>hello", "something other than its numbers"),
    ],
)
def test_an_answer_that_is_none_is_told(browser, told, status, content_type, text, why):
    """Whatever else is answered, the page says what it is and asks on"""
    told.say((status, {"Content-Type": content_type}, text))
    watch(browser, page(told))
    browser.until("return document.getElementById('frame').classList.contains('gone')")
    assert why in browser.text("#notice-then")
    told.say(worker_says(functions={"shop.fixtures": {}}))
    browser.until("return !document.getElementById('frame').classList.contains('gone')")
    assert browser.run(NAMES) == ["shop.fixtures"]


def test_a_degraded_service_may_answer_503(browser, told):
    """Numbers are numbers, whatever status comes with them"""
    reasons = [{"code": "oldest_flight", "function": "shop.fixtures", "text": "It hangs, see <b>there</b>."}]
    answer = worker_says(status="degraded", reasons=reasons, functions={"shop.fixtures": {}})
    told.say(answer)
    status, headers, text = told.answer({})
    told.say((503, headers, text))
    watch(browser, page(told))
    browser.until("return document.querySelector('#state.degraded') !== null")
    assert browser.text("#reasons").split("\n")[-1] == "It hangs, see <b>there</b>."
    assert status == 200


def test_hostile_names_are_text(browser):
    """Markup, line breaks, escapes and ten thousand characters are shown as text, cut, and run nothing"""
    with watched_service(hostile=True) as service:
        watch(browser, service.health)
        for name in HOSTILE:
            service.ask(2, name=name)
        browser.until("return document.getElementById('requests-under').textContent === '8 since the start'")
        names = browser.run(NAMES)
        assert len(names) == 2 + len(HOSTILE)
        assert set(HOSTILE[:2]) <= set(names)
        assert "two␊lines␛[31m�red" in names
        assert max(map(len, names)) <= 170
        browser.run("document.querySelectorAll('#tbody .pick').forEach((name) => name.click())")
        assert browser.run("return document.querySelectorAll('#main img, #main script').length") == 0
        assert browser.run("return document.title") == "✓ healthy · coalesce_kit"
        assert browser.run("return document.documentElement.scrollWidth") <= 1400
        heights = browser.run("return [...document.querySelectorAll('#tbody tr')].map((row) => row.offsetHeight)")
        assert max(heights) < 60


def test_the_keyboard_sorts_filters_and_chooses(browser, told):
    """Tab reaches the heads of the columns, Enter sorts by one and again turns it round, and the state is told"""
    functions = {f"shop.section_{number}": {"cache_hits": number * 10} for number in (2, 1, 3)}
    told.say(worker_says(functions=functions))
    watch(browser, page(told))
    browser.until("return document.querySelectorAll('#tbody tr').length === 3")
    assert browser.run(NAMES) == ["shop.section_3", "shop.section_2", "shop.section_1"]
    browser.run("document.getElementById('filter').focus()")
    browser.press(*["Tab"] * 2, "Enter")
    focused = "return document.activeElement.dataset.sort"
    assert browser.run(focused) == "name"
    assert browser.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
    assert browser.run(NAMES) == ["shop.section_1", "shop.section_2", "shop.section_3"]
    browser.press("Enter")
    assert browser.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"
    assert browser.run(NAMES) == ["shop.section_3", "shop.section_2", "shop.section_1"]
    assert browser.run("return document.querySelectorAll('[aria-sort]').length") == 1
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.run("document.getElementById('filter').focus()")
    browser.press(*"_2")
    assert browser.run(NAMES) == ["shop.section_2"]
    assert browser.text("#functions-count") == "1 of 3"
    browser.run("document.querySelector('#tbody tr:not([hidden]) .pick').focus()")
    browser.press("Space")
    assert browser.text("#plot-of") == "shop.section_2"
    assert browser.run("return document.activeElement.getAttribute('aria-pressed')") == "true"


def test_the_chart_is_walked_through_by_arrow_keys(browser, told):
    """With the focus in the chart, left goes back in time, the legend follows, Escape returns to now"""
    watch(browser, page(told))
    for number in range(3):
        told.say(worker_says(uptime=100 + number, functions={"shop.fixtures": {"cache_hits": 10 * number}}))
        browser.until("return fleet.workers.get('a').uptime === arguments[0]", 100 + number)
    browser.run("document.getElementById('pause').click(); document.getElementById('chart').focus()")
    assert browser.text("#moment") == "now, per second"
    browser.press("Left", "Left")
    assert browser.text("#moment").startswith("at ")
    assert browser.run("return document.querySelector('#chart-svg .cursor') !== null")
    assert " at " in browser.run("return document.getElementById('chart').getAttribute('aria-label')")
    browser.press("Escape")
    assert browser.text("#moment") == "now, per second"


def test_the_table_is_one_for_a_screen_reader_at_any_width(browser, told):
    """Rows, cells and heads keep their roles where the table is drawn as a stack of cards"""
    told.say(worker_says(functions={"shop.fixtures": {"led_requests": 3, "fetches": 3}}))
    for width in (1400, 390):
        browser.resize(width, 900)
        watch(browser, page(told))
        browser.until("return document.querySelectorAll('#tbody tr').length === 1")
        nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        assert roles.count("table") == 1
        assert roles.count("row") == 4
        assert roles.count("rowheader") == 2
        assert [node["name"]["value"] for node in nodes if node["role"]["value"] == "status"] == [""]
        headings = [node["name"]["value"] for node in nodes if node["role"]["value"] == "heading"]
        assert headings == ["coalesce_kit", "Health", "At a glance", "Requests per second", "Functions"]
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_two_hundred_functions_are_drawn_where_they_are_seen(browser, told):
    """With 200 functions the page answers the keyboard, and draws only the charts that are on the screen"""
    functions = {f"shop.section_{number:03}.load": {"cache_hits": number} for number in range(200)}
    told.say(worker_says(uptime=100, functions=functions))
    watch(browser, page(told))
    browser.until("return fleet.workers.size === 1")
    busier = {name: {"cache_hits": 500} for name in functions}
    told.say(worker_says(uptime=101, functions=busier))
    browser.until("return document.getElementById('requests-under').textContent === '100,000 since the start'")
    drawn = browser.until("return document.querySelectorAll('#tbody path.hits[d^=M]').length")
    assert 0 < drawn < 60
    seconds = browser.run("const began = performance.now(); arrived([], 1); return (performance.now() - began) / 1000")
    assert seconds < 1
    browser.run("document.getElementById('filter').focus()")
    browser.press(*"_199")
    assert browser.run(NAMES) == ["section_199.loadshop"]


def test_a_table_that_is_pointed_at_does_not_jump(browser, told):
    """While the focus is in the table, new numbers change no order; choosing an order does"""
    told.say(worker_says(functions={"shop.a": {"cache_hits": 2}, "shop.b": {"cache_hits": 1}}))
    watch(browser, page(told))
    browser.until("return document.querySelectorAll('#tbody tr').length === 2")
    browser.run("document.querySelector('#tbody .pick').focus()")
    told.say(worker_says(uptime=110, functions={"shop.a": {"cache_hits": 2}, "shop.b": {"cache_hits": 50}}))
    browser.until("return document.getElementById('requests-under').textContent === '52 since the start'")
    assert browser.run(NAMES) == ["shop.a", "shop.b"]
    browser.run("document.activeElement.blur(); showOrder(false)")
    assert browser.run(NAMES) == ["shop.b", "shop.a"]


def test_without_functions_the_page_says_how_to_begin(browser, told):
    """No function decorated yet: no empty chart, but what to do"""
    watch(browser, page(told))
    browser.until("return !document.getElementById('empty').hidden")
    assert browser.text("#empty h3") == "No function is decorated yet"
    assert not browser.shows("#chart")
    assert not browser.shows("#scroll")
    assert "@coalesced(ttl=30)" in browser.text("#empty pre")


def test_a_token_is_asked_for_and_kept_in_the_tab(browser, told):
    """A 401 asks for the token, a wrong one is told, the right one shows the numbers, also after a reload"""
    told.token = "right-token"
    browser.go(page(told))
    browser.until("return !document.getElementById('locked').hidden")
    assert browser.run("return document.activeElement.id") == "token"
    browser.press(*"wrong", "Enter")
    browser.until("return document.getElementById('wrong').textContent.startsWith('This token was refused')")
    browser.press(*"right-token", "Enter")
    browser.until("return !document.getElementById('main').hidden")
    assert browser.run("return document.getElementById('locked').hidden")
    browser.go(page(told))
    browser.until("return !document.getElementById('main').hidden")
    assert browser.run("return [localStorage.length, document.cookie, location.href]") == [0, "", page(told)]


def test_the_endpoint_and_the_page_agree_on_tokens(browser):
    """With health_app(token=...) the page comes without one, and its numbers with the one that is typed into it"""
    with watched_service(token="right-token") as service:
        browser.go(service.health)
        browser.until("return !document.getElementById('locked').hidden")
        browser.press(*"right-token", "Enter")
        browser.until("return document.querySelectorAll('#tbody tr').length === 2")


def test_a_paused_page_asks_nothing(browser, told):
    """Pause stops the questions until it is taken back"""
    watch(browser, page(told))
    browser.click("#pause")
    browser.until("return !asking")
    asked = len(told.asked)
    time.sleep(1.5)
    assert len(told.asked) == asked
    browser.click("#pause")
    browser.until("return document.getElementById('updated').textContent.startsWith('as of')")
    assert len(told.asked) > asked


def test_nothing_moves_for_who_wants_no_motion(browser, told):
    """With reduced motion preferred, nothing has a transition or an animation"""
    browser.prefer(prefers_reduced_motion="reduce")
    watch(browser, page(told))
    moving = """
        return [...document.querySelectorAll('*')].filter((element) => {
          const style = getComputedStyle(element);
          return style.transitionDuration !== '0s' || style.animationName !== 'none';
        }).length"""
    assert browser.run(moving) == 0
    browser.prefer(prefers_reduced_motion="no-preference")
    assert browser.run(moving) > 0
