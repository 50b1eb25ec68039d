"""What assert_results_unchanged notices, whatever a result is made of, and what it says; and what is no change."""

from __future__ import annotations

import array
import asyncio
import functools
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple
from unittest.mock import MagicMock

import attrs
import msgspec
import pydantic
import pytest
import sqlalchemy.orm

from coalesce_kit import coalesced
from coalesce_kit.testing.guards import assert_results_unchanged


async def told_of(result, change):
    """Return what the guard says of a result that was changed."""

    @coalesced(name="odds", key="odds")
    async def odds():
        return result

    async def fetch_and_change():
        with assert_results_unchanged(odds):
            change(await odds())

    with pytest.raises(AssertionError) as caught:
        await fetch_and_change()
    first, second = str(caught.value).split("\n")
    assert first == "a result that callers share was changed, for all of them:"
    head = "  odds (odds): "
    assert second.startswith(head)
    return second.removeprefix(head)


async def is_quiet(result, use=lambda result: None):
    """Use a result under the guard, which says nothing."""

    @coalesced
    async def odds():
        return result

    with assert_results_unchanged(odds):
        use(await odds())


class Odds:
    """Equal to itself only."""

    def __init__(self, price, **more):
        self.price = price
        vars(self).update(more)


class Other(Odds):
    pass


class Slotted:
    __slots__ = ("__hidden", "__weakref__", "price")

    def __init__(self, price):
        self.__hidden = [price]
        self.price = price

    def hide(self):
        self.__hidden.append(0)


class Both(Slotted):
    """With slots of its class above, and a dict of its own."""


@dataclass
class Game:
    teams: list[str]
    odds: dict[str, Odds] = field(default_factory=dict)


class Model(pydantic.BaseModel):
    price: float
    rows: list[int] = []
    _secret: list[int] = pydantic.PrivateAttr(default_factory=list)

    @functools.cached_property
    def doubled(self):
        return [2 * self.price]


class Struct(msgspec.Struct):
    price: float


@attrs.define
class Defined:
    price: float


@attrs.define
class Computed:
    price: float
    note: str = attrs.field(init=False)

    @functools.cached_property
    def doubled(self):
        return 2 * self.price


class Numbers(NamedTuple):
    first: list[int]


class Named(list):
    name = "mine"


class Price(float):
    pass


class Pickled:
    """What it is made of stands in its pickle only."""

    def __init__(self, content):
        self._content = staticmethod(lambda: content)

    def __reduce__(self):
        return Pickled, (list(self._content()),)


class Foreign:
    """As if it were written in C."""

    __slots__ = ()
    held: dict = {"price": [1.9]}

    def __reduce__(self):
        return Foreign, (), self.held, iter([1])


class Table:
    """As those of pandas: what it has looked up once it keeps."""

    def __init__(self):
        self._found = {}
        self._rows = [1]

    def __getstate__(self):
        return {"_rows": self._rows}

    def look(self, row):
        self._found[row] = self._rows.index(row)


class Global:
    def __reduce__(self):
        return "GLOBAL"


class Uncopied(Table):
    def __getstate__(self):
        raise RuntimeError


def put(name, value):
    return lambda result: setattr(result, name, value)


def local_class():
    class Local:
        price = None

    local = Local()
    local.price = 1.9
    return local


TURNED = "result: OrderedDict({'a': 1, 'b': 2}) is now OrderedDict({'b': 2, 'a': 1})"

CYCLE: list = [1]
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("result", "change", "told"),
    [
        (["nba"], lambda r: r.append("mine"), "result: ['nba'] is now ['nba', 'mine']"),
        (["nba", "nfl"], lambda r: r.reverse(), "result[0]: 'nba' is now 'nfl'"),
        ({"a": [{"b": 1.9}]}, lambda r: r["a"][0].update(b=2.1), "result['a'][0]['b']: 1.9 is now 2.1"),
        ({"a": 1}, lambda r: r.clear(), "result: {'a': 1} is now {}"),
        ([1.0], lambda r: r.__setitem__(0, 1), "result[0]: 1.0 is now 1"),
        (list(range(1000)), lambda r: r.append("mine"), "result[1000]: nothing is now 'mine'"),
        (list(range(1000)), lambda r: r.pop(), "result[999]: 999 is now nothing"),
        ({"tags": {"x"}}, lambda r: r["tags"].add("y"), ...),
        ((1, [2]), lambda r: r[1].append(3), "result[1]: [2] is now [2, 3]"),
        (deque([1]), lambda r: r.append(2), "result: deque([1]) is now deque([1, 2])"),
        (Counter("a"), lambda r: r.update("a"), "result['a']: 1 is now 2"),
        (defaultdict(list), lambda r: r["new"], "result: defaultdict({}) is now defaultdict({'new': []})"),
        (defaultdict(list), put("default_factory", None), "result.default_factory: <class 'list'> is now None"),
        (OrderedDict(a=1), lambda r: r.update(a=2), "result['a']: 1 is now 2"),
        (OrderedDict(a=1, b=2), lambda r: r.move_to_end("a"), TURNED),
        (OrderedDict(), lambda r: r.update(b=2), "result: OrderedDict({}) is now OrderedDict({'b': 2})"),
        (OrderedDict.fromkeys(range(99), "many"), lambda r: r.move_to_end(97), "result: 97 is now 98"),
        ({Odds(1.9): 1}, lambda r: put("price", 2.1)(next(iter(r))), ...),
        ({("nba", Odds(1.9)): 1}, lambda r: put("price", 2)(next(iter(r))[1]), ...),
        (MappingProxyType({Odds(1.9): 1}), lambda r: put("price", 2)(next(iter(r))), ...),
        ({Odds(1.9)}, lambda r: put("price", 2)(next(iter(r))), ...),
        (bytearray(b"a"), lambda r: r.extend(b"b"), "result: bytearray(b'a') is now bytearray(b'ab')"),
        (array.array("i", [1]), lambda r: r.append(2), "result: array('i', [1]) is now array('i', [1, 2])"),
        (MappingProxyType({"a": [1]}), lambda r: r["a"].clear(), "result['a']: [1] is now []"),
        ([Odds(1.9)], lambda r: put("price", 2.1)(r[0]), "result[0].price: 1.9 is now 2.1"),
        ([Odds(1)], lambda r: r.append(Odds(2)), "result: [Odds(price=1)] is now [Odds(price=1), Odds(price=2)]"),
        (Odds(1.9), put("note", "mine"), "result: Odds(price=1.9) is now Odds(price=1.9, note='mine')"),
        (Odds(1.9, lock=threading.Lock()), put("price", 2.1), "result.price: 1.9 is now 2.1"),
        (Odds(1.9, lock=threading.Lock()), put("lock", threading.Lock()), ...),
        (Odds(1.9), lambda r: setattr(r, "__class__", Other), ...),
        (local_class(), put("price", 2.1), "result.price: 1.9 is now 2.1"),
        ([local_class()], lambda r: r.append(local_class()), ...),
        (Slotted(1.9), put("price", 2.1), "result.price: 1.9 is now 2.1"),
        (Slotted(1.9), lambda r: delattr(r, "price"), ...),
        (Slotted(1.9), lambda r: r.hide(), "result._Slotted__hidden: [1.9] is now [1.9, 0]"),
        (Both(1.9), put("note", "mine"), ...),
        (Game(["a"], {"b": Odds(1.9)}), lambda r: put("price", 2)(r.odds["b"]), "result.odds['b'].price: 1.9 is now 2"),
        (Model(price=1.9), put("price", 2.1), "result.price: 1.9 is now 2.1"),
        (Model(price=1.9), lambda r: r._secret.append(7), "result.__pydantic_private__['_secret']: [] is now [7]"),
        (Struct(price=1.9), put("price", 2.1), "result.price: 1.9 is now 2.1"),
        (Defined(price=1.9), put("price", 2.1), "result.price: 1.9 is now 2.1"),
        (Computed(price=1), put("note", "mine"), "result: Computed(price=1) is now Computed(note='mine', price=1)"),
        ([Model(price=1)], lambda r: r.clear(), "result: [Model(price=1.0, rows=[])] is now []"),
        ([(1,), (2, 3)], lambda r: r.clear(), "result: [(1,), (2, 3)] is now []"),
        (Numbers([1]), lambda r: r.first.append(2), "result[0]: [1] is now [1, 2]"),
        ([Numbers([1])], lambda r: r.clear(), "result: [Numbers([1])] is now []"),
        (SimpleNamespace(price=1.9), put("price", 2.1), "result.price: 1.9 is now 2.1"),
        (Named([1]), put("name", "yours"), "result: Named([1]) is now Named([1], name='yours')"),
        (Named([1]), lambda r: r.append(2), "result: Named([1]) is now Named([1, 2])"),
        ([Price(1.9)], lambda r: r.__setitem__(0, Price(2.1)), "result[0]: 1.9 is now 2.1"),
        ([Decimal(1)], lambda r: r.__setitem__(0, Decimal(2)), "result[0]: Decimal('1') is now Decimal('2')"),
        ([Pickled([1])], lambda r: r[0]._content().append(2), ...),
        ([KeyError(["a"])], lambda r: r[0].args[0].append("b"), ...),
        ([Foreign()], lambda r: Foreign.held["price"].append(2), ...),
        ([Table()], lambda r: r[0]._rows.append(2), "result[0]._rows: [1] is now [1, 2]"),
        ([Uncopied()], lambda r: r[0].look(1), "result[0]._found: {} is now {1: 0}"),
        ([Global()], lambda r: put("price", 2)(r[0]), "result[0]: Global() is now Global(price=2)"),
        ([[["many"] * 300] * 300], lambda r: r[0].clear(), ...),
        (CYCLE, lambda r: r.__setitem__(0, 2), "result[0]: 1 is now 2"),
        ([max], lambda r: r.__setitem__(0, len), "result[0]: <built-in function max> is now <built-in function len>"),
        ([date(2026, 1, 1)], lambda r: r.__setitem__(0, date(2026, 1, 2)), ...),
        ([[[[[[[1]]]]]]], lambda r: r.append(2), "result: [[[[[…]]]]] is now [[[[[…]]]], 2]"),
    ],
)  # fmt: skip
async def test_every_change_is_found_and_shown(result, change, told):
    """What is different is named by the way to it, whatever it stands in."""
    if told is ...:
        assert " is now " in await told_of(result, change)
    else:
        assert await told_of(result, change) == told


async def test_what_looks_the_same_and_is_not_is_told_of():
    """An object that can only be compared by what it is, in the place of another one."""

    class Opaque:
        __slots__ = ()

        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

        def __repr__(self):
            return "opaque"

    class Machine:
        __module__ = "asyncio.mine"

        def __repr__(self):
            return "machine"

    class Broken(Machine):
        __module__ = "asyncio.mine"

        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

        def __repr__(self):
            raise RuntimeError

    for kind, shown in ((Machine, "machine"), (Broken, "<unprintable Broken>")):
        told = await told_of([kind()], lambda r, kind=kind: r.__setitem__(0, kind()))
        assert told == f"result[0]: {shown} is now another {shown}"
    await is_quiet([Opaque()], lambda r: r.__setitem__(0, Opaque()))


async def test_what_is_equal_is_no_change():
    """A value, or a list of them, that was exchanged for an equal one: nobody can tell."""
    await is_quiet({"rows": [[1.5], "a"]}, lambda r: r.update(rows=[[float("1.5")], "".join("a")]))


class Team:
    def __init__(self):
        self.name = "bears"

    @functools.cached_property
    def upper(self):
        return self.name.upper()


async def test_what_is_computed_when_it_is_read_is_no_change():
    """A cached property puts its value beside what the object is made of, and may be forgotten again."""
    await is_quiet(Team(), lambda team: team.upper)
    await is_quiet(Model(price=1.9), lambda model: model.doubled)
    await is_quiet(Computed(price=1.9), lambda computed: computed.doubled)
    team = Team()
    assert team.upper == "BEARS"
    await is_quiet(team, lambda team: delattr(team, "upper"))
    assert await told_of(Team(), put("name", "bills")) == "result.name: 'bears' is now 'bills'"


async def test_what_an_object_has_looked_up_is_no_change():
    """As it leaves it out itself when it is copied, and it is nobody else's."""
    await is_quiet(Table(), lambda table: table.look(1))


async def test_a_method_that_was_exchanged_is_a_change():
    """A function of the class is nothing that is computed when it is read."""

    class Service:
        def ask(self):
            return "answer"

    assert "ask=" in await told_of(Service(), put("ask", None))


class Colour(Enum):
    RED = 1


async def test_what_is_no_result_is_not_looked_into():
    """Locks, tasks, mocks, functions, classes, modules: they live on, and that is nobody's change."""
    lock = asyncio.Lock()
    mock = MagicMock()
    things = [lock, asyncio.current_task(), mock, print, Odds, asyncio, Colour.RED, put, lock.acquire]
    await lock.acquire()
    await is_quiet(things, lambda things: (lock.release(), mock.used()))


class Base(sqlalchemy.orm.DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "rows"
    id: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(primary_key=True)
    price: sqlalchemy.orm.Mapped[float]


async def test_a_row_of_sqlalchemy():
    """It is read without a complaint, and a price that was changed is found."""
    await is_quiet(Row(id=1, price=1.9), lambda row: row.price)
    engine = sqlalchemy.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with sqlalchemy.orm.Session(engine) as session:
        session.add(Row(id=1, price=1.9))
        session.flush()
        rows = session.scalars(sqlalchemy.select(Row)).all()
        assert await told_of(rows, lambda rows: put("price", 2.1)(rows[0])) == "result[0].price: 1.9 is now 2.1"
    engine.dispose()


async def test_whatever_a_result_is_it_is_returned():
    """Objects of which nearly every question fails are handed out, and are no change."""

    class Hostile:
        __slots__ = ("unset",)

        @property
        def __dict__(self):
            raise RuntimeError

        @property
        def __class__(self):
            raise RuntimeError

        def __getattr__(self, name):
            raise RuntimeError

        def __reduce_ex__(self, protocol):
            raise RuntimeError

        def __repr__(self):
            raise RuntimeError

    class Key:
        def __init__(self):
            self.fails = False

        def __hash__(self):
            if self.fails:
                raise RuntimeError
            return 1

    key = Key()
    failing = {key: 1}
    key.fails = True
    await is_quiet([Hostile(), failing])
    assert await told_of([Hostile()], lambda r: r.clear()) == "result: [Hostile()] is now []"


async def test_a_deep_result_is_walked():
    """As deep as it may be."""
    deep = bottom = []
    for _ in range(20_000):
        bottom.append([])
        bottom = bottom[0]
    assert (await told_of(deep, lambda _: bottom.append(1))).endswith("[0]: [] is now [1]")
