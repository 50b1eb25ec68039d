"""Health: which numbers are reasons, and how a status comes and goes. Snapshots are made by hand, their time too."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from coalesce_kit import CoalescerStats, RegistrySnapshot
from coalesce_kit.stats.counters import NO_GAUGES, Counters
from coalesce_kit.stats.health import HealthThresholds, HealthWatch, Reason, judge
from coalesce_kit.stats.latency import LatencyHistogram
from coalesce_kit.stats.showing import Limits

USUAL_LIMITS = Limits(max_wait_seconds=5)
HOSTILE = "<script>alert(1)</script>\n\r\x1b[31m\u2028\ud800" + "x" * 10_000


def latency(*samples: tuple[float, int]):
    """A histogram of so many samples of so many seconds."""
    histogram = LatencyHistogram()
    for seconds, times in samples:
        histogram.record(seconds, times)
    return histogram.snapshot()


def stats(name: str = "odds", *, fetched: int = 0, usual: float = 0.01, waited: int = 0, **numbers: float):
    """The numbers of a function that has ended so many fetches and waits."""
    return CoalescerStats(
        name=name,
        instance="one",
        pid=1,
        fetch_latency=latency((usual, fetched)),
        wait_latency=latency((usual, waited)),
        **numbers,
    )


def all_of(functions, instance):
    """The totals, as far as health looks at them."""
    gauges = sum((function.gauges() for function in functions), NO_GAUGES)
    return replace(Counters().snapshot("total", gauges), instance=instance)


def at(seconds: float, *functions: CoalescerStats, instance: str = "one", limits: Limits = USUAL_LIMITS):
    """A snapshot, so many seconds after the process began."""
    nothing = CoalescerStats(name="none", instance=instance, pid=1)
    return RegistrySnapshot(
        instance=instance,
        pid=1,
        started_seconds_ago=seconds,
        functions={function.name: function for function in functions},
        gone=nothing,
        totals=all_of(functions, instance),
        function_limits={function.name: limits for function in functions},
    )


def only(report):
    """The one reason of a report."""
    (reason,) = report.reasons
    return reason


# ---- which numbers are reasons ----


def test_nothing_wrong_is_healthy():
    """A function that works has no reason, nor has a process without functions."""
    assert judge(at(100, stats(fetched=1000, waited=1000))).status == "healthy"
    assert judge(at(100)).as_dict() == {"status": "healthy", "reasons": []}


@pytest.mark.parametrize(
    ("usual", "age", "status", "threshold"),
    [
        (0.01, 0.99, "healthy", None),  # no fetch younger than a second is too old
        (0.01, 1.5, "warning", 1.0),
        (0.01, 4.9, "warning", 1.0),
        (0.01, 5.1, "degraded", 5.0),  # never degraded before max_wait_seconds
        (2.0, 5.5, "healthy", None),
        (2.0, 7.0, "warning", 6.0),
        (2.0, 25.0, "degraded", 20.0),
    ],
)
def test_a_flight_is_too_old_against_what_is_usual(usual, age, status, threshold):
    """With a known p99, three times that is a warning and ten times that is degraded."""
    report = judge(at(1000, stats(fetched=20, usual=usual, oldest_flight_seconds=age)))
    assert report.status == status
    if threshold is not None:
        reason = only(report)
        assert (reason.code, reason.function, reason.value) == ("flight_too_old", "odds", age)
        assert reason.threshold == pytest.approx(threshold, rel=0.07)


@pytest.mark.parametrize(("age", "status"), [(4.9, "healthy"), (5.1, "warning"), (9.9, "warning"), (10.1, "degraded")])
def test_a_flight_is_too_old_against_max_wait_where_nothing_is_usual(age, status):
    """With fewer than twenty fetches, max_wait_seconds and twice that decide."""
    assert judge(at(1000, stats(fetched=19, oldest_flight_seconds=age))).status == status


@pytest.mark.parametrize(("age", "status"), [(59, "healthy"), (61, "warning"), (121, "degraded")])
def test_a_flight_without_max_wait_has_a_minute(age, status):
    """Where callers wait as long as it takes, an unknown function has sixty seconds."""
    report = judge(at(1000, stats(oldest_flight_seconds=age), limits=Limits()))
    assert report.status == status


@pytest.mark.parametrize(
    ("zombies", "status", "threshold"), [(1, "warning", 0), (10, "warning", 0), (11, "degraded", 10)]
)
def test_zombies(zombies, status, threshold):
    """One zombie is a warning, more than ten are degraded."""
    reason = only(judge(at(1000, stats(zombies=zombies))))
    assert (reason.code, reason.status, reason.value, reason.threshold) == ("zombies", status, zombies, threshold)


@pytest.mark.parametrize(
    ("fetched", "errors", "timeouts", "status", "threshold"),
    [
        (1, 1, 0, "healthy", None),
        (2, 1, 1, "warning", 20.0),
        (4, 3, 0, "healthy", None),
        (4, 4, 0, "warning", 20.0),
        (5, 1, 0, "healthy", None),
        (5, 1, 1, "warning", 20.0),
        (10, 5, 0, "warning", 20.0),
        (10, 5, 1, "degraded", 50.0),
    ],
)
def test_fetches_that_fail_in_the_window(fetched, errors, timeouts, status, threshold):
    """From five fetches on a fifth is a warning and a half is degraded; of fewer, a warning when none succeeded."""
    report = judge(at(30, stats(fetched=fetched, fetch_errors=errors, fetch_timeouts=timeouts)))
    assert report.status == status
    if threshold is not None:
        reason = only(report)
        assert reason.code == "fetches_fail"
        assert reason.value == pytest.approx(100 * (errors + timeouts) / fetched)
        assert reason.threshold == threshold


def test_cancelled_fetches_have_not_failed():
    """Callers who leave are no reason."""
    assert judge(at(30, stats(fetched=10, fetch_cancelled=10))).status == "healthy"


@pytest.mark.parametrize(
    ("waited", "timeouts", "status"),
    [(100, 1, "warning"), (4, 4, "warning"), (5, 5, "degraded"), (10, 5, "warning"), (10, 6, "degraded")],
)
def test_wait_timeouts_in_the_window(waited, timeouts, status):
    """One wait time-out is a warning, more than half of five or more waits are degraded."""
    reason = only(judge(at(30, stats(waited=waited, wait_timeouts=timeouts))))
    assert (reason.code, reason.status, reason.value) == ("wait_timeouts", status, 100 * timeouts / waited)


def test_slow_fetches_in_the_window():
    """One fetch that outlasted max_wait_seconds is a warning, and nothing but slow ones is no more."""
    assert only(judge(at(30, stats(fetched=100, slow_fetches=1)))).code == "slow_fetches"
    reason = only(judge(at(30, stats(fetched=10, slow_fetches=8))))
    assert (reason.status, reason.value) == ("warning", 80)


def test_a_method_that_is_never_shared():
    """A method whose instances never come twice is a warning."""
    reason = only(judge(at(1000, stats(never_shared=1))))
    assert (reason.code, reason.status) == ("never_shared", "warning")


@pytest.mark.parametrize(
    ("numbers", "code", "status"),
    [
        ({"breaker_state": 1}, "breaker_open", "warning"),
        ({"breaker_state": 2}, "breaker_open", "degraded"),
        ({"invalidations_pending": 1}, "invalidations_pending", "warning"),
        ({"untrusted_entries": 1}, "untrusted_entries", "warning"),
    ],
)
def test_a_store_in_trouble_is_one_reason(numbers, code, status):
    """What many functions share is told once, and of no function."""
    report = judge(at(1000, stats("odds", **numbers), stats("fixtures", **numbers), stats("local")))
    reason = only(report)
    assert (reason.code, reason.function, reason.status) == (code, None, status)
    assert reason.text.isprintable()


def test_one_result_that_is_not_trusted_is_a_reason():
    """However many functions share the store."""
    assert only(judge(at(1000, stats(untrusted_entries=1)))).value == 1


def test_a_store_that_is_back_recovers():
    """Its reason goes like any other, and is nobody's meanwhile."""
    watch = HealthWatch()
    watch.look(at(1000, stats(breaker_state=2)))
    reason = only(watch.look(at(1001, stats())))
    assert (reason.function, reason.recovering) == (None, True)
    assert reason.text.startswith("the process is good again as to breaker_open")
    assert watch.look(at(1011, stats())).status == "healthy"


def test_the_worst_reason_is_the_status_and_stands_first():
    """Each function has reasons of its own; the worst comes first."""
    report = judge(at(30, stats("calm"), stats("a", zombies=1), stats("b", oldest_flight_seconds=99, zombies=2)))
    assert report.status == "degraded"
    assert [(reason.function, reason.code) for reason in report.reasons] == [
        ("b", "flight_too_old"),
        ("a", "zombies"),
        ("b", "zombies"),
    ]


def test_reasons_that_are_equally_bad_stand_by_name():
    """What is nobody's comes first, then one function after the other, whatever their order in the process."""
    report = judge(at(1000, stats("Odds", zombies=1, breaker_state=1), stats("Live", zombies=1)))
    assert [reason.function for reason in report.reasons] == [None, "Live", "Odds"]
    assert {reason.status for reason in report.reasons} == {"warning"}


def test_a_threshold_is_switched_off():
    """Infinity is never exceeded, and what is reported stays JSON."""
    off = HealthThresholds(zombies=math.inf, degraded_zombies=math.inf)
    assert judge(at(30, stats(zombies=10**9)), thresholds=off).status == "healthy"
    degraded_only = HealthThresholds(zombies=math.inf)
    assert judge(at(30, stats(zombies=11)), thresholds=degraded_only).status == "degraded"


@pytest.mark.parametrize(
    "wrong",
    [
        {"zombies": -1},
        {"zombies": math.nan},
        {"window_seconds": 0},
        {"window_seconds": math.inf},
        {"zombies": "many"},
        {"zombies": True},
        {"recovery_margin_percent": 101},
    ],
)
def test_thresholds_that_make_no_sense(wrong):
    """A threshold that can never work is refused by its name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HealthThresholds(**wrong)


def test_thresholds_at_their_bounds():
    """A window may be short, and a number may have to be gone altogether before it is good again."""
    thresholds = HealthThresholds(window_seconds=0.5, recovery_margin_percent=100, zombies=1e6, degraded_zombies=1e9)
    looks = [(100, 1e6 + 1), (110, 1), (130, 1), (140, 0), (150, 0)]
    assert statuses(HealthWatch(thresholds), *looks) == [*["warning"] * 4, "healthy"]


# ---- the window ----


def test_what_happened_before_the_window_is_no_reason():
    """Errors of the first minute are forgotten when a minute has passed without any."""
    watch = HealthWatch(HealthThresholds(recovery_seconds=0))
    failed = stats(fetched=10, fetch_errors=10)
    assert watch.look(at(10, failed)).status == "degraded"
    statuses = [watch.look(at(seconds, failed)).status for seconds in range(15, 120, 5)]
    assert statuses == sorted(statuses)  # alphabetically: degraded, then healthy
    assert statuses[-1] == "healthy"


@pytest.mark.parametrize(("seconds", "status"), [(60, "degraded"), (61, "healthy")])
def test_what_a_young_process_has_counted_is_recent(seconds, status):
    """Until the window is over, everything happened within it."""
    assert judge(at(seconds, stats(fetched=10, fetch_errors=10))).status == status


def test_what_lies_a_window_back_is_no_more_compared_with():
    """With two looks behind it, the one that is a window old is where counting begins."""
    watch = HealthWatch()
    watch.look(at(100, stats(fetched=10)))
    watch.look(at(110, stats(fetched=20, fetch_errors=10)))
    assert only(watch.look(at(170, stats(fetched=30, fetch_errors=10)))).value == 0


def test_a_first_look_at_an_old_process_has_nothing_to_compare_with():
    """Errors of days ago are no reason; those after the first look are."""
    watch = HealthWatch()
    assert watch.look(at(10**6, stats(fetched=1000, fetch_errors=1000))).status == "healthy"
    report = watch.look(at(10**6 + 10, stats(fetched=1010, fetch_errors=1006)))
    assert only(report).value == 60.0


def test_many_looks_see_as_far_back_as_few():
    """A poll ten times a second does not shorten the window, nor does it fill memory."""
    watch = HealthWatch()
    for tick in range(601):
        report = watch.look(at(100 + tick / 10, stats(fetched=tick, fetch_errors=min(tick, 300))))
    assert only(report).value == pytest.approx(50, abs=1)
    assert len(watch._looks) == 1 + 12


@pytest.mark.parametrize(("seconds", "noted"), [(4.9, 1), (5, 2)])
def test_a_look_is_noted_in_every_twelfth_of_the_window(seconds, noted):
    """That is how exactly the window is known."""
    watch = HealthWatch()
    watch.look(at(100, stats()))
    watch.look(at(100 + seconds, stats()))
    assert len(watch._looks) == noted


def test_a_function_that_came_later_began_at_zero():
    """What a function has counted since it appeared is recent."""
    watch = HealthWatch()
    watch.look(at(1000, stats("old")))
    report = watch.look(at(1001, stats("old"), stats("new", fetched=5, fetch_errors=5)))
    assert only(report).function == "new"


def test_nothing_is_subtracted_over_a_reset():
    """After a reset the numbers are those since the reset, however large they were."""
    watch = HealthWatch()
    watch.look(at(1000, stats(fetched=1000, fetch_errors=4)))
    report = watch.look(at(1010, stats(fetched=10, fetch_errors=6, resets=1)))
    assert only(report).value == 60.0


def test_nothing_is_subtracted_over_a_reset_that_does_not_show():
    """Also when more has been counted since the reset than before it."""
    watch = HealthWatch()
    watch.look(at(1000, stats(fetched=2)))
    report = watch.look(at(1010, stats(fetched=10, fetch_errors=6, resets=1)))
    assert only(report).value == 60.0


def test_a_row_that_begins_again_under_its_name_is_not_subtracted():
    """A function that is gone and comes again counts from zero, without a reset being told."""
    watch = HealthWatch()
    watch.look(at(1000, stats(fetched=7, fetch_errors=7)))
    report = watch.look(at(1010, stats(fetched=8, fetch_errors=5)))
    assert only(report).value == 62.5


def test_nothing_is_subtracted_across_instances():
    """A snapshot of another process is compared with none, and its reasons are its own."""
    watch = HealthWatch()
    watch.look(at(1000, stats(zombies=3, fetched=5)))
    report = watch.look(at(1010, stats(fetched=10, fetch_errors=5), instance="two"))
    assert report.status == "healthy"


def test_a_registry_that_began_anew_is_not_compared():
    """When the time goes back, what was seen before is forgotten."""
    watch = HealthWatch()
    watch.look(at(1000, stats(zombies=3, fetched=5)))
    assert watch.look(at(5, stats(fetched=5))).status == "healthy"


# ---- how a status gets better ----


def statuses(watch: HealthWatch, *looks: tuple[float, float]):
    """The statuses at some moments with some numbers of zombies."""
    return [watch.look(at(seconds, stats(zombies=zombies))).status for seconds, zombies in looks]


def test_it_gets_worse_at_once_and_better_after_a_while():
    """One bad look is enough; to be healthy again takes ten good seconds."""
    watch = HealthWatch()
    looks = [(100, 0), (101, 1), (102, 0), (107, 0), (111.9, 0), (112, 0), (113, 0)]
    assert statuses(watch, *looks) == ["healthy", *["warning"] * 4, "healthy", "healthy"]


def test_one_good_look_is_not_enough():
    """With a recovery of no time at all, the second good look is believed."""
    watch = HealthWatch(HealthThresholds(recovery_seconds=0))
    assert statuses(watch, (100, 1), (200, 0), (200, 0)) == ["warning", "warning", "healthy"]


def test_two_looks_at_one_moment_are_two_looks():
    """The second one does not take the process for another that began anew."""
    assert statuses(HealthWatch(), (100, 1), (100, 0)) == ["warning", "warning"]


def test_what_is_almost_as_bad_does_not_get_better():
    """A degraded number must be a fifth below its threshold, too, to become a warning."""
    watch = HealthWatch(HealthThresholds(zombies=1, degraded_zombies=100))
    looks = [(100, 101), (110, 81), (130, 81), (140, 80), (150, 80)]
    assert statuses(watch, *looks) == [*["degraded"] * 4, "warning"]


def test_a_threshold_that_moves_is_told_as_it_is():
    """What is usual for a function may change while a fetch of its is too old."""
    watch = HealthWatch()
    told = [
        only(watch.look(at(seconds, stats(fetched=20, usual=usual, oldest_flight_seconds=29)))).threshold
        for seconds, usual in ((1000, 1.0), (1001, 2.0))
    ]
    assert told[1] == pytest.approx(2 * told[0], rel=0.15)


def test_a_relapse_begins_the_wait_anew():
    """The ten seconds count from the last bad look."""
    watch = HealthWatch()
    looks = [(100, 1), (101, 0), (105, 1), (106, 0), (112, 0), (116, 0)]
    assert statuses(watch, *looks) == [*["warning"] * 5, "healthy"]


def test_a_number_just_below_its_threshold_is_not_good():
    """To get better a number must be a fifth below its threshold; until then nothing counts."""
    thresholds = HealthThresholds(zombies=100, degraded_zombies=1000)
    watch = HealthWatch(thresholds)
    looks = [(100, 101), (110, 99), (130, 81), (150, 80), (160, 80)]
    assert statuses(watch, *looks) == [*["warning"] * 4, "healthy"]


@pytest.mark.parametrize("looks", [[(110, 99), (115, 80), (121, 80)], [(110, 80), (115, 90), (121, 80)]])
def test_what_is_almost_good_does_not_count(looks):
    """Only the time in which the number was good enough counts, and it counts from its beginning."""
    watch = HealthWatch(HealthThresholds(zombies=100, degraded_zombies=1000))
    assert statuses(watch, (100, 101), *looks) == ["warning"] * 4


def test_degraded_becomes_a_warning_first_when_it_still_is_one():
    """What is not bad enough for degraded any more is still a warning."""
    watch = HealthWatch()
    looks = [(100, 11), (101, 5), (111, 5), (112, 0), (122, 0)]
    assert statuses(watch, *looks) == ["degraded", "degraded", "warning", "warning", "healthy"]


def test_a_warning_becomes_degraded_while_it_recovers():
    """Getting worse is never put off."""
    assert statuses(HealthWatch(), (100, 1), (101, 0), (102, 11)) == ["warning", "warning", "degraded"]


def test_a_reason_that_recovers_says_so():
    """While it is watched the reason stays, with the number as it is now."""
    watch = HealthWatch()
    bad = only(watch.look(at(100, stats(zombies=2))))
    recovering = only(watch.look(at(101, stats())))
    assert (bad.recovering, bad.value) == (False, 2)
    assert (recovering.recovering, recovering.value, recovering.threshold) == (True, 0, 0)
    assert "good again" in recovering.text


def test_a_function_that_is_gone_recovers():
    """The reason of a function that is no more goes away in its time."""
    watch = HealthWatch()
    watch.look(at(100, stats(zombies=1)))
    assert only(watch.look(at(101))).value == 0
    assert watch.look(at(111)).status == "healthy"
    assert watch._held == {}


def test_too_few_fetches_to_tell_are_good():
    """When calls cease, the failures of the last minute do not stay a reason for ever."""
    watch = HealthWatch()
    looks = [stats(fetched=10, fetch_errors=10), *[stats(fetched=11, fetch_errors=11)] * 40]
    reports = [watch.look(at(100 + 5 * number, *[look])) for number, look in enumerate([stats(), *looks])]
    assert [reports[0].status, reports[1].status, reports[-1].status] == ["healthy", "degraded", "healthy"]


# ---- what is said ----


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"fetched": 20, "oldest_flight_seconds": 7.25}, "the oldest fetch of odds has been running for 7.2 s"),
        ({"fetched": 20, "oldest_flight_seconds": 7.25}, "; 99 % of its fetches end within 0.0094 s"),
        ({"zombies": 3}, "3 fetches of odds were given up and still run"),
        ({"fetched": 10, "fetch_errors": 6}, "6 of the last 10 fetches of odds failed, more than 50 %"),
        ({"waited": 8, "wait_timeouts": 2}, "2 of the last 8 waits for odds ended at max_wait_seconds"),
        ({"fetched": 4, "slow_fetches": 2}, "2 of the last 4 fetches of odds outlasted max_wait_seconds"),
        ({"breaker_state": 2}, "a store is out of reach"),
        ({"breaker_state": 1}, "a store is being tried again"),
        ({"invalidations_pending": 7}, "7 invalidations could not be told to a store yet"),
        ({"untrusted_entries": 9}, "9 results at hand are not served until a store"),
        ({"never_shared": 1}, "the first calls of odds all came from different instances"),
    ],
)
def test_every_reason_is_a_sentence(numbers, said):
    """A reason says in words what its numbers are."""
    assert said in only(judge(at(30, stats(**numbers)))).text


def test_a_hostile_name_is_one_line_and_stays_json():
    """A name of any length, with any character, is exact for machines and one short line for people."""
    report = judge(at(30, stats(HOSTILE, zombies=1)))
    reason = json.loads(json.dumps(report.as_dict()))["reasons"][0]
    assert reason["function"] == HOSTILE
    assert reason["text"].isprintable()
    assert len(reason["text"]) < 300


def test_what_cannot_be_printed_of_a_name_is_a_question_mark():
    """One for each character: a line break would end the sentence."""
    assert "fetches of odds?live?? were given up" in only(judge(at(30, stats("odds\nlive\x1b\u2028", zombies=1)))).text


@pytest.mark.parametrize(("length", "shown"), [(80, 80), (81, 80), (10_000, 80)])
def test_a_long_name_is_shortened(length, shown):
    """To eighty characters, in the middle of which some are missing."""
    text = only(judge(at(30, stats("x" * length, zombies=1)))).text
    name = text.removeprefix("1 fetches of ").partition(" ")[0]
    assert len(name) == shown
    assert ("…" in name) == (length > shown)


def test_a_reason_stands_unless_it_says_otherwise():
    """One that is made by hand is not on its way to be good again."""
    made = Reason(code="zombies", function="odds", value=1, threshold=0, text="one", status="warning")
    assert not made.recovering


def test_a_report_as_json():
    """A reason has a code, a function, a value, a threshold and a text, and says how bad it is."""
    told = judge(at(30, stats(zombies=1))).as_dict()
    assert told["status"] == "warning"
    assert set(told["reasons"][0]) == {"code", "function", "value", "threshold", "text", "status", "recovering"}


def test_earlier_snapshots_are_compared_with():
    """Given one after the other, they are looked at one after the other."""
    before, after = at(1000, stats(fetched=10)), at(1010, stats(fetched=20, fetch_errors=10))
    assert (judge(after).status, judge(before, after).status) == ("healthy", "degraded")


def test_judging_is_pure():
    """The same snapshots give the same report, and are not touched."""
    snapshots = [at(100, stats(zombies=1)), at(101, stats())]
    assert judge(*snapshots) == judge(*[replace(snapshot) for snapshot in snapshots])
