"""The workers behind one address: found, summed, and never subtracted from each other."""

from __future__ import annotations

import json
from itertools import chain, cycle, repeat

import pytest

from coalesce_kit.cli.client import ClientError, read_answer
from coalesce_kit.cli.report import count_workers, render_json, render_report
from coalesce_kit.cli.workers import Rates, Workers
from tests.endpoint import worker_says


class Behind:
    """The workers behind an address, answering in the order of a test."""

    def __init__(self, *answers):
        self.asked = 0
        self.say(*answers)

    def say(self, *answers):
        self._answers = iter(answers)

    def always(self, *answers):
        self._answers = cycle(answers)

    def __call__(self):
        self.asked += 1
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return read_answer(json.dumps(answer).encode(), "http://x")


def fixtures(instance="a", uptime=100.0, **numbers):
    more = {name: numbers.pop(name) for name in ("status", "reasons", "pid") if name in numbers}
    return worker_says(instance, uptime=uptime, functions={"shop.fixtures": numbers}, **more)


def test_a_lone_worker_is_asked_a_few_times():
    """Four more answers of the same worker are enough to believe that it is alone"""
    behind = Behind(*repeat(fixtures(cache_hits=5), 5))
    view = Workers(behind).find()
    assert behind.asked == 5
    assert view.totals.stats.total_requests == 5
    assert count_workers(view) == "1 worker"


def test_all_workers_are_found():
    """Whoever is new makes the asking go on, until nobody new comes"""
    workers = [fixtures(name, cache_hits=number, pid=number) for number, name in enumerate("abcd", start=1)]
    behind = Behind(
        *chain(repeat(workers[0], 3), [workers[1], workers[0], workers[2], workers[3]], repeat(workers[1], 99))
    )
    view = Workers(behind).find()
    assert sorted(answer.pid for answer in view.answers) == [1, 2, 3, 4]
    assert view.functions["shop.fixtures"].stats.cache_hits == 10
    assert behind.asked == 7 + 16


def test_expected_workers_end_the_asking():
    """Where it is known how many there are, the last of them is the last question"""
    behind = Behind()
    behind.always(fixtures("a"), fixtures("b"), fixtures("c"))
    assert len(Workers(behind).find(expected=3).answers) == 3
    assert behind.asked == 3


def test_workers_that_do_not_come_are_not_waited_for_for_ever():
    """Sixty-four questions, or the patience given, and what was found is what there is"""
    behind = Behind()
    behind.always(fixtures("a"))
    assert len(Workers(behind).find(expected=3).answers) == 1
    assert behind.asked == 64
    behind.asked = 0
    assert len(Workers(behind).find(expected=3, patience_seconds=-1).answers) == 1
    assert behind.asked == 1


def test_a_question_without_an_answer_is_an_error():
    """Half of the workers is not the truth about all"""
    with pytest.raises(ClientError, match="gone"):
        Workers(Behind(fixtures(), ClientError("gone"))).find()


def test_gauges_and_maxima_are_summed_as_what_they_are():
    """Flights add up, the oldest is the oldest of all, the most waiters the most of one"""
    one = fixtures("a", in_flight=2, waiters=3, oldest_flight_seconds=1.5, max_concurrent_waiters=9)
    other = fixtures("b", in_flight=1, waiters=4, oldest_flight_seconds=7.5, max_concurrent_waiters=4)
    stats = Workers(Behind(one, other)).find(expected=2).totals.stats
    assert (stats.in_flight, stats.waiters, stats.oldest_flight_seconds) == (3, 7, 7.5)
    assert stats.max_concurrent_waiters == 9


def test_the_status_is_the_worst_and_a_reason_is_told_once():
    """One worker in trouble is the service in trouble; the same reason of two is one"""
    reason = {"code": "oldest_flight", "function": "shop.fixtures", "text": "It hangs."}
    another = {"code": "zombies", "function": "shop.fixtures", "text": "Two zombies."}
    answers = [
        fixtures("a"),
        fixtures("b", status="degraded", reasons=[reason, another]),
        fixtures("c", status="warning", reasons=[reason]),
    ]
    view = Workers(Behind(*answers)).find(expected=3)
    assert view.status == "degraded"
    assert sorted(reason.text for reason in view.reasons) == ["It hangs.", "Two zombies."]


def looks(workers, behind, *rounds):
    """Let the workers be looked at once per round; each round is the answers given in it, over and over."""
    views = []
    for answers in rounds:
        behind.always(*answers)
        views.append(workers.look())
    return views


def test_rates_are_made_within_a_worker_and_then_summed():
    """Two workers in turn: the difference between their numbers is never taken"""
    behind = Behind()
    workers = Workers(behind)
    first, second = looks(
        workers,
        behind,
        [fixtures("a", 10, cache_hits=5000), fixtures("b", 20, led_requests=10, fetches=10)],
        [fixtures("a", 12, cache_hits=5020), fixtures("b", 24, led_requests=50, fetches=50)],
    )
    assert first.totals.rates is None
    assert first.functions["shop.fixtures"].rates is None
    assert second.functions["shop.fixtures"].rates == second.totals.rates == Rates(requests=20.0, fetches=10.0)


@pytest.mark.parametrize(
    ("uptime", "later"),
    [
        (12, {"cache_hits": 10, "resets": 1}),
        (12, {"cache_hits": 5000, "led_requests": 0, "coalesced_requests": 10, "resets": 1}),
        (12, {"cache_hits": 10}),
        (1, {"cache_hits": 10}),
    ],
    ids=["a reset", "a reset and more since", "a reload", "a restart"],
)
def test_numbers_that_began_again_give_no_negative_rate(uptime, later):
    """After a reset or a reload what is there was counted since; after a restart there is nothing to compare with"""
    behind = Behind()
    before = fixtures("a", 10, cache_hits=5000, led_requests=3, fetches=3)
    _, view = looks(Workers(behind), behind, [before], [fixtures("a", uptime, **later)])
    line = view.functions["shop.fixtures"]
    if uptime < 10:
        assert line.rates is None
    else:
        assert line.rates == Rates(requests=line.stats.total_requests / 2, fetches=0.0)


def test_after_a_restart_rates_begin_anew():
    """A registry that counts from the beginning is compared with itself, not with the one before it"""
    behind = Behind()
    before, after = fixtures("a", 1000, cache_hits=5000, resets=1), fixtures("a", 1, cache_hits=6000)
    *_, view = looks(Workers(behind), behind, [before], [after], [fixtures("a", 3, cache_hits=6020)])
    assert view.totals.rates == Rates(10.0, 0.0)


def test_fewer_resets_than_before_are_no_error():
    """Two registries of one process may be told apart by their resets alone"""
    behind = Behind()
    before, after = fixtures("a", 10, cache_hits=5000, resets=1), fixtures("a", 12, cache_hits=6000)
    *_, view = looks(Workers(behind), behind, [before], [after])
    assert view.totals.rates == Rates(3000.0, 0.0)


def test_answers_too_near_to_each_other_are_not_divided():
    """A rate needs a quarter of a second; until then the last one holds"""
    behind = Behind()
    *_, third, fourth = looks(
        Workers(behind),
        behind,
        [fixtures("a", 10)],
        [fixtures("a", 12, cache_hits=20)],
        [fixtures("a", 12.1, cache_hits=40)],
        [fixtures("a", 13, cache_hits=40)],
    )
    assert third.totals.rates == Rates(10.0, 0.0)
    assert fourth.totals.rates == Rates(20.0, 0.0)


def test_a_function_that_appears_is_counted_from_zero():
    """What a function has counted since the look before, in which it was not, is all it has"""
    behind = Behind()
    _, view = looks(Workers(behind), behind, [worker_says("a", uptime=10)], [fixtures("a", 12, cache_hits=8)])
    assert view.functions["shop.fixtures"].rates == Rates(4.0, 0.0)


def test_a_silent_worker_keeps_its_counts_and_loses_its_gauges_and_rates():
    """What was counted was counted; what is in the air there, nobody knows"""
    behind = Behind()
    workers = Workers(behind)
    a, b = fixtures("a", 10, cache_hits=5, in_flight=1), fixtures("b", 10, cache_hits=7, in_flight=2, status="warning")
    looks(workers, behind, [a, b], [fixtures("a", 12, cache_hits=9), fixtures("b", 12, cache_hits=11, in_flight=2)])
    *_, view = looks(workers, behind, *repeat([fixtures("a", 14, cache_hits=9)], 6))
    assert count_workers(view) == "1 of 2 workers answering"
    assert view.totals.stats.cache_hits == 20
    assert view.totals.stats.in_flight == 0
    assert view.status == "healthy"
    assert view.totals.rates == Rates(0.0, 0.0)


def test_a_worker_that_is_silent_for_long_is_left_out_by_name():
    """After twenty rounds its numbers go, and its process is named"""
    behind = Behind()
    workers = Workers(behind)
    looks(workers, behind, [fixtures("a", cache_hits=5), fixtures("b", cache_hits=7, pid=4711)])
    *_, view = looks(workers, behind, *repeat([fixtures("a", cache_hits=5)], 20))
    assert view.totals.stats.cache_hits == 5
    assert count_workers(view) == "1 worker, pid 4711 left out"


def test_several_questions_a_round_reach_several_workers():
    """As many as are known, up to four; of a lone worker's rounds every eighth looks for another"""
    behind = Behind()
    workers = Workers(behind)
    looks(workers, behind, *repeat([fixtures("a")], 9))
    assert behind.asked == 3 + 7 + 3
    for known, questions in (("abc", 3), ("abcdef", 4)):
        behind.asked = 0
        workers = Workers(behind)
        behind.always(*[fixtures(name) for name in known])
        workers.find(expected=len(known))
        behind.asked = 0
        workers.look()
        assert behind.asked == questions


def test_the_report_is_for_people():
    """A line on the service, one per reason, and the table"""
    reason = {"code": "oldest_flight", "function": "shop.fixtures", "text": "It hangs,\nfor \x1b[31mlong."}
    view = Workers(
        Behind(fixtures(led_requests=1, coalesced_requests=99, fetches=1, status="warning", reasons=[reason]))
    )
    lines = render_report(view.find(expected=1), "http://x/health").split("\n")
    assert lines[0] == "http://x/health  warning  1 worker"
    assert lines[1] == "  oldest_flight: It hangs,?for ?[31mlong."
    assert lines[5].split() == ["shop.fixtures", "99.0%", "99.0%", "100", "1", "0", "-", "-"]


def test_the_json_is_for_programs():
    """The sums have no process of their own, and the workers are listed"""
    answers = [fixtures("a", cache_hits=5, pid=1), fixtures("b", cache_hits=7, pid=2)]
    told = json.loads(render_json(Workers(Behind(*answers)).find(expected=2), "http://x"))
    assert told["functions"]["shop.fixtures"]["cache_hits"] == told["totals"]["cache_hits"] == 12
    assert "instance" not in told["totals"]
    assert [worker["pid"] for worker in told["workers"]] == [1, 2]
    assert (told["status"], told["reasons"], told["address"]) == ("healthy", [], "http://x")
