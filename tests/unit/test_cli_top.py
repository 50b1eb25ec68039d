"""What ``top`` looks at first: keys or answers."""

from __future__ import annotations

import queue

from coalesce_kit.cli.top import _next_key_or_answer


def answers_waiting(count):
    answers = queue.SimpleQueue()
    for number in range(count):
        answers.put(f"answer {number}")
    return answers


def test_a_key_goes_before_the_answers_that_wait():
    """Answers that come faster than they are drawn keep nobody from quitting"""
    asked = []
    assert _next_key_or_answer(lambda seconds: asked.append(seconds) or "q", answers_waiting(3)) == "q"
    assert asked == [0]


def test_an_answer_is_not_held_up_by_the_wait_for_a_key():
    """With an answer there, no time is spent waiting for a key"""
    asked = []
    assert _next_key_or_answer(lambda seconds: asked.append(seconds) or "", answers_waiting(1)) == ""
    assert asked == [0]


def test_without_an_answer_keys_are_waited_for():
    """Until one comes, or an answer does"""
    answers, keys = answers_waiting(0), iter(["", "", "s"])
    assert _next_key_or_answer(lambda seconds: next(keys), answers) == "s"
    keys = iter([""])
    assert _next_key_or_answer(lambda seconds: answers.put("came") or next(keys), answers) == ""
