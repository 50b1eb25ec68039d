"""The dashboard's file by itself: it needs nothing from elsewhere, its colours can be read, its arithmetic is right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from coalesce_kit.exporters.page import read_page
from coalesce_kit.stats.latency import LatencyHistogram
from tests.endpoint import worker_says

TEXT = (files("coalesce_kit.exporters") / "dashboard.html").read_text("utf-8")
SCRIPT = TEXT.partition("<script>")[2].partition("</script>")[0]
STYLE = TEXT.partition("<style>")[2].partition("</style>")[0]


class Outline(HTMLParser):
    """The elements of the page, in order, and what each says of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(TEXT)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


OUTLINE = Outline().elements


def test_nothing_is_loaded_from_elsewhere():
    """No address is in it but the name of SVG, which is none, and no element asks for a file"""
    assert set(re.findall(r"\w+://[^\s\"'`)]+", TEXT)) == {"http://www.w3.org/2000/svg"}
    assert [tag for tag, attributes in OUTLINE if "src" in attributes or tag in {"link", "iframe", "object"}] == []
    assert "@import" not in STYLE
    assert "url(" not in STYLE


def test_nothing_stands_in_attributes_that_a_policy_forbids():
    """No handler and no style is in an attribute, so that the policy can forbid both"""
    attributes = {name for _, attributes in OUTLINE for name in attributes}
    assert {name for name in attributes if name == "style" or name.startswith("on")} == set()
    assert '"style"' not in SCRIPT
    assert ".style" not in SCRIPT


def test_names_become_text_and_never_markup():
    """Nothing in the script parses text as HTML or as code"""
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert way not in SCRIPT


def test_the_page_is_small():
    """It is sent whole whenever somebody opens it"""
    assert len(TEXT.encode()) < 80_000


def test_the_policy_names_the_one_script_and_the_one_style():
    """One hash each, and nothing that would allow another"""
    policy = read_page().policy.decode()
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_every_field_has_a_label_and_every_button_a_text():
    """Whoever hears the page hears what each field is for"""
    labelled = {attributes["for"] for tag, attributes in OUTLINE if tag == "label"}
    fields = [attributes for tag, attributes in OUTLINE if tag in {"input", "select"}]
    assert {field["id"] for field in fields} == labelled
    assert re.findall(r"<button[^>]*>\s*</button>", TEXT) == []


def test_headings_descend_one_step_at_a_time():
    """One h1, and below it no level left out"""
    levels = [int(tag[1]) for tag, _ in OUTLINE if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in zip([1, *levels], levels, strict=False))


def test_only_changes_are_told_unasked():
    """What is read out by itself is one line for changes of status, and what is wrong with a token"""
    live = [attributes.get("id") for _, attributes in OUTLINE if {"aria-live", "role"} & attributes.keys()]
    loud = [
        attributes["id"]
        for _, attributes in OUTLINE
        if attributes.get("aria-live") or attributes.get("role") in {"alert", "status", "log"}
    ]
    assert loud == ["said", "wrong"]
    assert set(loud) <= set(live)


def colours(dark: bool) -> dict[str, str]:
    """The variables of one theme."""
    light, _, after = STYLE.partition("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", light))
    if dark:
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", after.partition("@media")[0].partition("}\n}")[0]))
    return found


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


TEXTS = [
    *[(ink, ground) for ink in ("ink", "quiet") for ground in ("page", "card", "sunken")],
    *[("accent", "card"), ("accent", "sunken"), ("on-accent", "accent"), ("bad", "card"), ("ink", "bad-back")],
    *[("good", "good-back"), ("warn", "warn-back"), ("bad", "bad-back")],
]
SHAPES = [(shape, "card") for shape in ("led", "coalesced", "hits", "stale", "rejected", "control")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "ground", "least"), [*[(*pair, 4.5) for pair in TEXTS], *[(*pair, 3.0) for pair in SHAPES]]
)
def test_colours_can_be_told_from_their_ground(front, ground, least, dark):
    """Texts have a contrast of 4.5 to 1, shapes and borders that mean something 3 to 1"""
    found = colours(dark)
    assert contrast(found[front], found[ground]) >= least


@pytest.fixture(scope="module")
def node() -> str:
    """A JavaScript engine, if this machine has one; the tests in the browser do not need it."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no node")
    return found


ARITHMETIC = SCRIPT.partition("// ---- the page")[0]


def ran(node: str, code: str, *given: object) -> object:
    """Run the page's arithmetic, and then some code over ``given``; return its JSON."""
    program = f"{ARITHMETIC}\nconst given = {json.dumps(given)};\nconsole.log(JSON.stringify((() => {{ {code} }})()));"
    done = subprocess.run([node, "-"], input=program, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_percentiles_are_those_of_the_registry(node):
    """What the page makes of merged buckets is what stats/latency.py makes of all samples"""
    one, other, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for number in range(1, 200):
        for histogram in (one if number % 3 else other, both):
            histogram.record(0.0001 * number * number)
    both.record(1e6)
    other.record(1e6)
    both.record(1e-9)
    one.record(1e-9)
    workers = [
        worker_says(name, functions={"shop.fixtures": {"fetch_latency": histogram.snapshot()}})
        for name, histogram in (("a", one), ("b", other))
    ]
    code = """
        const fleet = new Fleet(); fleet.take(given, 0);
        const { fetch } = fleet.view().functions.get("shop.fixtures").numbers;
        return [0.01, 50, 95, 99, 100].map((percent) => percentileSeconds(fetch, percent));"""
    expected = [both.snapshot().percentile_seconds(percent) for percent in (0.01, 50, 95, 99, 100)]
    assert ran(node, code, *workers) == pytest.approx(expected, rel=0.001)


def test_rates_are_made_within_a_worker_and_then_summed(node):
    """Two workers in turn: the difference between their numbers is never taken"""
    rounds = [
        worker_says(instance, uptime=uptime, functions={"shop.fixtures": {"cache_hits": hits}})
        for instance, uptime, hits in [("a", 10, 5000), ("b", 20, 10), ("a", 12, 5020), ("b", 24, 50)]
    ]
    code = """
        const fleet = new Fleet();
        return given.map((answer, round) => { fleet.take([answer], round); return fleet.view().rates; })
            .map((rates) => rates && total(rates));"""
    assert ran(node, code, *rounds) == [None, None, 10, 20]


@pytest.mark.parametrize(
    ("later", "rate"),
    [({"cache_hits": 80}, 40), ({"cache_hits": 300, "resets": 1}, 150), ({"cache_hits": 300}, 100), ({}, 0)],
    ids=["fewer", "more after a reset", "more", "none any more"],
)
def test_numbers_that_began_again_give_no_negative_rate(node, later, rate):
    """What was counted since the beginning is what happened, not the difference to what was before it"""
    before = worker_says(uptime=10, functions={"shop.fixtures": {"cache_hits": 100}})
    after = worker_says(uptime=12, functions={"shop.fixtures": later})
    code = """
        const fleet = new Fleet(); fleet.take([given[0]], 0); fleet.take([given[1]], 1);
        return [total(fleet.view().rates), total(fleet.view().functions.get("shop.fixtures").rates)];"""
    assert ran(node, code, before, after) == [rate, rate]


def test_a_burst_is_drawn_once(node):
    """Of two workers one answers in every other round: what was drawn for it meanwhile is set right when it speaks"""
    fast = [("a", 10, 0), ("a", 12, 600), ("a", 14, 600), ("a", 16, 600)]
    slow = [("b", 10, 0), ("b", 12, 900), None, ("b", 16, 900)]
    rounds = [
        [
            worker_says(instance, uptime=uptime, functions={"shop.fixtures": {"cache_hits": hits}})
            for instance, uptime, hits in filter(None, each)
        ]
        for each in zip(fast, slow, strict=True)
    ]
    code = """
        const fleet = new Fleet(); const drawn = {}; const corrected = {};
        given.forEach((answers, round) => {
            fleet.take(answers, round);
            const { rates, functions } = fleet.view();
            drawn[round] = rates ? total(rates) : 0;
            corrected[round] = functions.size ? total(functions.get("shop.fixtures").rates) : 0;
            for (const { at, functions, totals } of fleet.corrections) {
                drawn[at] += total(totals); corrected[at] += total(functions[0][1]);
            }
            fleet.show(round);
        });
        return [Object.values(drawn), Object.values(corrected)];"""
    assert ran(node, code, *rounds) == [[0, 750, 0, 0], [0, 750, 0, 0]]


def test_an_answer_that_was_overtaken_changes_nothing(node):
    """Of two answers of one worker the younger counts, in whichever order they arrive"""
    old = worker_says(uptime=10, functions={"shop.fixtures": {"cache_hits": 100}})
    new = worker_says(uptime=12, functions={"shop.fixtures": {"cache_hits": 300}})
    code = """
        const fleet = new Fleet(); fleet.take([given[0]], 0); fleet.take([given[1], given[0]], 1);
        return [total(fleet.view().totals), total(fleet.view().rates)];"""
    assert ran(node, code, old, new) == [300, 100]


def test_what_is_no_number_counts_as_none(node):
    """Numbers that are missing, negative, texts or objects are zero; the page stays"""
    answer = worker_says(functions={"shop.fixtures": {"cache_hits": 3}})
    answer["functions"]["shop.fixtures"].update(led_requests="7", fetches=-4, waiters=None, fetch_latency=[1])
    answer["functions"]["other"] = None
    answer["reasons"] = [None, 3, "x"]
    code = """
        const fleet = new Fleet(); fleet.take(given, 0);
        return [...fleet.view().functions.values()].map((row) => row.numbers);"""
    rows = ran(node, code, answer)
    assert [(row["cache_hits"], row["led_requests"], row["fetches"], row["waiters"]) for row in rows] == [
        (3, 0, 0, 0),
        (0, 0, 0, 0),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain.name", "plain.name"),
        ("two\nlines\t\x1b[31m", "two␊lines␉␛[31m"),
        ("right\u202eleft\u2066\ufeff", "right�left��"),
        ("half \ud83d pair", "half � pair"),
        ("whole 😀 pair", "whole 😀 pair"),
    ],
)
def test_a_name_is_one_line_of_text(node, name, shown):
    """Whatever would move the text around it is shown as a sign"""
    assert ran(node, "return nameText(given[0])", name) == shown


def test_an_endless_name_is_cut_in_its_middle(node):
    """The end of a name tells more than its beginning"""
    shown = ran(node, "return nameText(given[0])", "a" * 5000 + "b" * 5000)
    assert re.fullmatch("a{53}…b{107}", shown)
