"""What holds for the stored texts and record keys of all canonical arguments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import assume, given, settings, strategies as st

from coalesce_kit.backends.record_key import record_key, record_prefix
from coalesce_kit.errors import KeyDerivationError
from tests.keys_by_hand import ByHand
from tests.properties.test_keys import pairs_of_values, templates, values

digest_keys = st.binary(min_size=1, max_size=80)
pieces = st.text(alphabet="ab:{}%37AD", max_size=4)


async def function(a, b):
    """An origin."""


def stored(key: ByHand, *args: Any, **options: Any) -> str | None:
    """The stored text; None for a call that mixes naive and aware datetimes, and only for that."""
    try:
        return key.recipe.stored_text(key(*args), **options)
    except KeyDerivationError as error:
        if "time zone" in str(error):
            return None
        raise


@settings(max_examples=150, deadline=None)
@given(templates(), pairs_of_values(), pairs_of_values())
def test_stored_texts_are_equal_exactly_when_keys_are(template, first, second):
    """For every template; and so are the record keys."""
    for key in (ByHand(function, key=template), ByHand(function)):
        texts = stored(key, first[0], second[0]), stored(key, first[1], second[1])
        assume(None not in texts)
        same = key(first[0], second[0]) == key(first[1], second[1])
        assert (texts[0] == texts[1]) is same
        assert (record_key("p:", texts[0]) == record_key("p:", texts[1])) is same


@settings(max_examples=100, deadline=None)
@given(digest_keys, pairs_of_values())
def test_hidden_parts_are_equal_exactly_when_the_arguments_are(digest_key, pair):
    """Under one key of the store, and under no two."""
    key = ByHand(function, key="{a!h}:{b}")
    one, other = (stored(key, value, 0, digest_key=digest_key) for value in pair)
    assume(one is not None and other is not None)
    assert (one == other) is (key(pair[0], 0) == key(pair[1], 0))
    assert one != stored(key, pair[0], 0, digest_key=digest_key + b"x")


@settings(max_examples=150, deadline=None)
@given(st.tuples(pieces, pieces, pieces, pieces), st.tuples(pieces, pieces, pieces, pieces))
def test_record_keys_are_equal_exactly_when_their_parts_are(one, other):
    """Whatever of the separators they hold."""
    keys = [record_key(record_prefix(*parts[:3]), parts[3]) for parts in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)
    for key in keys:
        assert key.count(":") == 4
        assert not set("{}") & set(key)


@settings(max_examples=100, deadline=None)
@given(values)
def test_a_stored_text_shows_no_address_and_no_time_of_another_zone(value):
    """It means the same in every process."""
    text = stored(ByHand(function), value, 0)
    assume(text is not None)
    assert " at 0x" not in text
    if isinstance(value, datetime) and value.tzinfo is not None:
        assert "Z, b=0)" in text
