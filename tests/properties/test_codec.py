"""What holds for the bytes of all results that a codec takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
from hypothesis import given, settings, strategies as st

from coalesce_kit.backends.codec import CodecError, codec_for
from tests.results import Level, Sport

zones = st.sampled_from([None, *(timezone(timedelta(minutes=minutes)) for minutes in (0, 90, -300, 345))])
texts = st.text(max_size=4)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False),
    str: texts,
    bool: st.booleans(),
    bytes: st.binary(max_size=4),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=zones),
    date: st.dates(),
    time: st.times(),
    timedelta: st.timedeltas(),
    Sport: st.sampled_from(Sport),
    Level: st.sampled_from(Level),
    None: st.none(),
}


@dataclasses.dataclass
class Record:
    a: Any
    b: Any


def containers(inner: st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    def of_one(pair: tuple[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
        cls, made = pair
        return st.sampled_from(
            [
                (list[cls], st.lists(made, max_size=3)),
                (tuple[cls, ...], st.lists(made, max_size=3).map(tuple)),
                (dict[str, cls], st.dictionaries(texts, made, max_size=3)),
                (dict[int, cls], st.dictionaries(st.integers(0, 9), made, max_size=3)),
                (Sequence[cls], st.lists(made, max_size=3)),
            ]
        )

    def of_two(pairs: tuple[Any, Any]) -> st.SearchStrategy[Any]:
        (one, made), (other, made_too) = pairs
        record = dataclasses.make_dataclass("Record", [("a", one), ("b", other)])
        model = pydantic.create_model("Model", a=(one, ...), b=(other, ...))
        return st.sampled_from(
            [
                (tuple[one, other], st.tuples(made, made_too)),
                (record, st.builds(record, made, made_too)),
                # As the function would have made it: what pydantic changes on the way in, it has changed.
                (model, st.builds(model, a=made, b=made_too)),
            ]
        )

    return st.one_of(inner.flatmap(of_one), st.tuples(inner, inner).flatmap(of_two))


typed = st.recursive(st.sampled_from(list(LEAVES.items())), containers, max_leaves=4)


@settings(max_examples=60, deadline=None)
@given(typed.flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_a_result_of_the_annotated_type_comes_back_equal(case):
    """Of whatever types it is made, and with every class as it was."""
    annotation, value = case
    codec = codec_for(annotation, name="f")
    body = codec.encode(value)
    back = codec.decode(body)
    assert type(back) is type(value)
    assert back == value
    assert codec.encode(back) == body


anything = st.recursive(
    st.one_of(*LEAVES.values(), st.complex_numbers(max_magnitude=1), st.integers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(texts | st.integers(), inner, max_size=3),
        st.builds(Record, inner, inner),
    ),
    max_leaves=5,
)


def exact(value: Any) -> Any:
    """What tells a value from every other, classes and offsets included."""
    if isinstance(value, list | tuple):
        return type(value), [exact(one) for one in value]
    if isinstance(value, dict):
        return dict, [(exact(key), exact(one)) for key, one in value.items()]
    if isinstance(value, Record):
        return Record, exact(value.a), exact(value.b)
    return type(value), str(value)


@settings(max_examples=100, deadline=None)
@given(anything)
def test_whatever_is_written_comes_back_as_it_was(value):
    """Where an annotation says little, a result either comes back exactly or is refused."""
    codec = codec_for(list[Any], name="f")
    try:
        body = codec.encode([value])
    except CodecError:
        return
    assert exact(codec.decode(body)) == exact([value])
