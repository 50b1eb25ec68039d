"""What ``key=``, ``ignore=`` and ``vary=`` make of a call's arguments, and what they refuse."""

from __future__ import annotations

import contextvars
import functools
import inspect
from dataclasses import dataclass

import pytest

from coalesce_kit.errors import ConfigurationError, KeyDerivationError, KeyTemplateError
from coalesce_kit.keys import compile_key
from tests.keys_by_hand import ByHand


async def fixtures(sport, live=True, limit=5):
    """An origin."""


async def teams(sport, session):
    """An origin."""


async def everything(a, /, b, *args, c=3, **kwargs):
    """An origin."""


async def nothing():
    """An origin."""


@dataclass
class User:
    id: int
    name: str = ""


class Service:
    def __init__(self, tenant="a"):
        self.tenant = tenant

    async def odds(self, league): ...

    @classmethod
    async def of_class(cls, league): ...


def refused(function, error=ConfigurationError, **options) -> str:
    """The message with which decorating is refused."""
    with pytest.raises(error) as caught:
        ByHand(function, name="f", **options)
    assert type(caught.value) is error
    return str(caught.value)


# --- the default key


def test_spellings_of_one_call_are_one_key():
    """Positional, keyword and default spellings make the same key."""
    key = ByHand(fixtures)
    assert key("nfl") == key(sport="nfl") == key("nfl", True, limit=5) == key(limit=5, live=True, sport="nfl")


def test_different_arguments_are_different_keys():
    """Every argument counts."""
    key = ByHand(fixtures)
    assert len({key("nfl"), key("nba"), key("nfl", False), key("nfl", limit=6)}) == 4


def test_a_plain_call_needs_no_deepening():
    """The shallow key of plain arguments is the key itself."""
    key = ByHand(fixtures)
    shallow = key.shallow("nfl")
    assert key.recipe.deepen(shallow) is shallow


def test_types_are_told_apart():
    """1, 1.0, True and "1" are four keys."""
    key = ByHand(fixtures)
    assert len({key(1), key(1.0), key(True), key("1")}) == 4


def test_two_functions_never_share():
    """The keys of two functions differ though arguments and name are the same."""
    assert ByHand(fixtures)("nfl") != ByHand(fixtures)("nfl")


def test_variadic_parameters_count():
    """What *args and **kwargs gather is in the key, the order of keywords is not."""
    key = ByHand(everything)
    assert key(1, 2, 3, x=1, y=2) == key(1, 2, 3, y=2, x=1)
    assert len({key(1, 2), key(1, 2, 3), key(1, 2, 3, 4), key(1, 2, x=3), key(1, 2, y=3), key(1, 2, c=4)}) == 6


def test_two_arguments_never_read_as_one():
    """("a", "b") is not ("a:b",)."""
    key = ByHand(everything)
    assert key("x", "y", "a", "b") != key("x", "y", "a:b")


def test_a_function_without_parameters_has_one_key():
    """No arguments make the key of no parts."""
    key = ByHand(nothing, name="f")
    assert key() == (key.recipe,)
    assert key.text() == "f()"


def test_ignored_parameters_are_outside():
    """ignore= alone is the default key less those names."""
    key = ByHand(teams, ignore=("session",))
    assert key("nfl", object()) == key("nfl", object())
    assert key.recipe.outside == ("session",)


def test_everything_may_be_ignored():
    """A function all of whose parameters are ignored has one key."""
    key = ByHand(teams, ignore=["sport", "session"])
    assert key("nfl", 1) == key("nba", 2)


# --- methods


def test_instances_never_share():
    """A method's key holds its instance by id, and nothing that keeps the instance alive."""
    key = ByHand(Service.odds)
    one, other = Service(), Service()
    assert key(one, "nba") == key(one, "nba") != key(other, "nba")
    assert key(one, "nba")[1:3] == (Service, id(one))
    assert key.recipe.instance


def test_the_class_of_a_class_method_is_part_of_the_key():
    """A class is an instance like self."""
    key = ByHand(Service.of_class.__func__)
    assert key(Service, "nba") != key(type("Sub", (Service,), {}), "nba")


@pytest.mark.parametrize("written", ["odds:{league}", ("league",)])
def test_the_instance_joins_a_written_key(written):
    """A written key that does not name the instance is still the instance's own."""
    key = ByHand(Service.odds, key=written)
    assert key(Service(), "nba") != key(service := Service(), "nba")
    assert [part.kind for part in key.recipe.parts] == ["instance", "value"]
    assert key(service, "nba") == key(service, "nba")


@pytest.mark.parametrize("written", ["{self.tenant}:{league}", ("self.tenant", "league")])
def test_a_key_that_names_the_instance_replaces_it(written):
    """Instances with the same {self.tenant} share."""
    key = ByHand(Service.odds, key=written)
    assert key(Service("a"), "nba") == key(Service("a"), "nba") != key(Service("b"), "nba")
    assert not key.recipe.instance


@pytest.mark.parametrize(
    "options", [{}, {"key": "{league}"}, {"key": ("league",)}, {"key": lambda self, league: league}]
)
def test_ignoring_self_lets_instances_share(options):
    """ignore=("self",) takes the instance out of every form of key."""
    key = ByHand(Service.odds, ignore=("self",), **options)
    assert key(Service(), "nba") == key(Service(), "nba")
    assert key.recipe.outside == ("self",)


@pytest.mark.parametrize("written", ["{league}@{self}", ("league", "self"), "{self!h}:{league}"])
def test_the_instance_can_be_named_itself(written):
    """{self} is the instance by id, where it was written."""
    key = ByHand(Service.odds, key=written)
    assert key.recipe.instance
    assert key(service := Service(), "nba") == key(service, "nba") != key(Service(), "nba")


def test_a_constant_template_suits_a_method_without_parameters():
    """The instance joins a template without a placeholder."""

    async def standings(self): ...

    key = ByHand(standings, key="standings")
    assert key(Service()) != key(Service())


def test_only_the_first_positional_parameter_is_an_instance():
    """A keyword called self is an argument."""

    async def function(league, *, self=1): ...

    assert not ByHand(function).recipe.instance


# --- templates and names


def test_a_template_is_a_tuple_of_its_parts():
    """In process nothing is joined to a string."""
    key = ByHand(fixtures, key="fixtures:{sport}:{live}:{limit}")
    assert key("nfl")[1:] == (str, "nfl", bool, True, int, 5)


def test_placeholders_reach_attributes_and_items():
    """{user.id} and {q[page]} account for user and q."""

    async def page(user, q, rows): ...

    key = ByHand(page, key="{user.id}:{q[page]}:{rows[0]}")
    assert key(User(7, "ann"), {"page": 2, "x": 1}, [5])[1:] == (int, 7, int, 2, int, 5)


def test_names_reach_attributes_and_items():
    """A sequence of names takes what a template takes."""

    async def page(user, q): ...

    key = ByHand(page, key=["user.id", "q[page]!s"])
    assert key(User(7), {"page": 2})[1:] == (int, 7, str, "2")


def test_conversions():
    """!r and !s make strings, !h leaves the value."""

    async def function(a, b, c): ...

    key = ByHand(function, key="{a!r}:{b!s}:{c!h}")
    assert key("x", 5, 6)[1:] == (str, "'x'", str, "5", int, 6)


def test_braces_are_doubled():
    """{{ and }} are literal braces."""
    assert ByHand(fixtures, key="{{{sport}}}", ignore=("live", "limit")).text("nfl") == "{nfl}"


def test_bindings_avoid_the_parameters():
    """A parameter may have any name."""

    async def function(__ck_repr, /, repr): ...

    key = ByHand(function, key="{__ck_repr!r}:{repr!r}")
    assert key("x", "y")[1:] == (str, "'x'", str, "'y'")
    assert key.recipe.bindings.keys().isdisjoint(key.signature.parameters)


def test_a_parameter_left_out_is_refused():
    """Neither in the key nor in ignore= is an error at decoration that says what would happen."""
    for written in ("teams:{sport}", ("sport",)):
        message = refused(teams, key=written)
        assert (
            "'session' is neither in the key nor in ignore=: every caller would get the answer made with the first"
            " caller's session" in message
        )
        assert "put it into the key ({session})" in message
        assert "ignore=('session',)" in message


def test_all_parameters_left_out_are_named():
    """The message names each of them."""
    message = refused(fixtures, key="{sport}")
    assert "'live' and 'limit' are neither in the key nor in ignore=" in message
    assert "put them into the key ({live}, {limit})" in message


def test_variadic_parameters_must_be_accounted_for():
    """*args and **kwargs are parameters like others."""
    message = refused(everything, key="{a}:{b}:{c}")
    assert "'args' and 'kwargs'" in message
    key = ByHand(everything, key="{a}:{b}:{c}:{args}:{kwargs[page]}")
    assert key(1, 2, 7, page=3)[-2:] == (int, 3)


def test_both_in_the_key_and_ignored_is_refused():
    """A name can be only one of the two."""
    assert "'sport' is both in the key and in ignore=" in refused(teams, key="{sport}", ignore=("sport", "session"))
    assert "'self' is both" in refused(Service.odds, key="{self.tenant}:{league}", ignore=("self",))


def test_ignoring_no_parameter_is_refused():
    """A misspelt name in ignore= is told, with those that there are."""
    assert "'sesion', which is no parameter; it has sport, session" in refused(teams, ignore=("sesion",))
    assert "it has none" in refused(nothing, ignore=("x",))


def test_one_string_is_no_sequence_of_names():
    """ignore="session" would be seven letters."""
    assert "write ignore=('session',)" in refused(teams, ignore="session")


@pytest.mark.parametrize("written", [5, {"sport", "live"}, b"x", {"sport": 1}, iter(("sport",))])
def test_what_is_no_key_is_refused(written):
    """key= is a template, a sequence or a function."""
    assert "key= takes a template" in refused(fixtures, key=written)


def test_a_sequence_holds_strings():
    """A name is a string."""
    assert refused(fixtures, key=("sport", 5)).startswith("f: key=('sport', 5) must hold the names of parameters")
    assert refused(fixtures, KeyTemplateError, key=("sport", "x")).startswith("f: key=('sport', 'x')")


def test_a_name_stands_once():
    """The same name twice is a mistake."""
    assert "names 'sport' twice" in refused(fixtures, key=("sport", "sport", "live", "limit"))


def test_a_template_without_a_placeholder_is_refused():
    """Forgotten braces would give every caller the same key."""
    assert "write '{sport}' or ('sport',)" in refused(fixtures, KeyTemplateError, key="sport")
    assert "write '{limit}' or ('limit',)" in refused(fixtures, KeyTemplateError, key="limit")
    assert "write '{sport}' or ('sport',)" in refused(fixtures, KeyTemplateError, key="fixtures")
    assert "same key" in refused(fixtures, KeyTemplateError, key="fixtures")
    assert "write '{league}'" in refused(Service.odds, KeyTemplateError, key="self")
    assert "is empty" in refused(nothing, KeyTemplateError, key="")


def test_a_constant_template_suits_a_function_without_parameters():
    """There is nothing that could differ."""
    assert ByHand(nothing, key="all").text() == "all"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{sprot}", "no parameter 'sprot'; it has sport, live, limit"),
        ("{sport}{live}", "put a separator between them: {sport}:{live}"),
        ("{}", "'' is no name"),
        ("{0}", "no parameter '0'"),
        ("{sport", "is no template"),
        ("sport}", "is no template"),
        ("{sport:>5}", "without ':>5'"),
        ("{sport!x}", "!x"),
        ("{sport.}", "is no name"),
        ("{sport..id}", "is no name"),
        ("{sport.class}", "'class' in 'sport.class' cannot be the name of an attribute"),
        ("{sport.a b}", "cannot be the name of an attribute"),
        ("{sport[]}", "is no name"),
    ],
)
def test_a_wrong_template_is_refused(template, says):
    """KeyTemplateError tells what is wrong with it."""
    message = refused(fixtures, KeyTemplateError, key=template)
    assert says in message
    assert message.startswith(f"f: key={template!r}")


def test_an_unknown_name_on_a_function_without_parameters():
    """There is nothing to name."""
    assert "it has none" in refused(nothing, KeyTemplateError, key="{x}")


def test_a_default_is_allowed_as_a_whole():
    """An object that is keyed by nothing but its address may be a parameter's own default, and no part of one."""

    class Box:
        @property
        def content(self):
            return self

    box = Box()

    async def function(x=box): ...

    key = ByHand(function, key="{x}")
    assert key() == key(box)
    with pytest.raises(KeyDerivationError):
        ByHand(function, key="{x.content}")()


def test_the_default_name_is_the_functions_own():
    """Without name= messages and texts call a function module.qualname."""
    assert compile_key(fixtures, inspect.signature(fixtures)).name == f"{__name__}.fixtures"


# --- key functions


def test_a_key_function_gets_exactly_the_calls_arguments():
    """Positional-only, variadic and keyword-only parameters arrive as they were given."""
    seen = []

    def key_of(*args, **kwargs):
        seen.append((args, kwargs))
        return 1

    ByHand(everything, key=key_of)(1, 2, 3, 4, c=5, d=6)
    assert seen == [((1, 2, 3, 4), {"c": 5, "d": 6})]


def test_what_a_key_function_returns_is_frozen_and_typed():
    """1 and True are two keys, lists are hashable, equal ones equal."""
    key = ByHand(fixtures, key=lambda sport, live, limit: [sport, limit])
    assert key("nfl", limit=1) == key("nfl", False, 1) != key("nfl", limit=True)
    assert hash(key("nfl"))


def test_a_key_function_answers_for_itself():
    """Parameters it does not use need no ignore=."""
    assert ByHand(teams, key=lambda sport, session: sport)("nfl", object())


def test_the_instance_joins_what_a_key_function_returns():
    """On a method the function's answer is still the instance's own."""
    key = ByHand(Service.odds, key=lambda self, league: league)
    assert key(Service(), "nba") != key(service := Service(), "nba")
    assert key(service, "nba") == key(service, "nba")


def test_a_key_function_that_returns_something_unsafe():
    """Its answer must not be compared by identity."""
    with pytest.raises(KeyDerivationError, match="what the key function returned is an object, which is compared by"):
        ByHand(fixtures, key=lambda *_: object())("nfl")


async def _async_key(sport, live, limit): ...


async def _async_generator_key(sport, live, limit):
    yield


class _AsyncKey:
    async def __call__(self, sport, live, limit): ...


@pytest.mark.parametrize("key", [_async_key, _async_generator_key, _AsyncKey(), functools.partial(_async_key)])
def test_an_async_key_function_is_refused(key):
    """The key is needed before anything is awaited."""
    assert "is async" in refused(fixtures, key=key)


def test_a_key_function_with_other_parameters_is_refused():
    """That it cannot be called is told at decoration."""
    message = refused(Service.odds, key=lambda league: league)
    assert "<lambda>(self, league)" in message
    assert "it takes (league)" in message


def test_a_builtin_can_be_the_key_function():
    """What hides its parameters is tried when it is called."""

    async def function(sport): ...

    assert ByHand(function, key=str)(5)[1:] == (str, "5")
    assert ByHand(function, key=type)(5)[1:] == (type, int)


# --- context variables


tenant = contextvars.ContextVar("tenant")
locale = contextvars.ContextVar("locale", default="en")


def test_context_variables_join_the_key():
    """vary= keeps tenants apart."""
    key = ByHand(fixtures, vary=(tenant, locale))

    def as_tenant(name):
        tenant.set(name)
        return key("nfl")

    a, b = (contextvars.copy_context().run(as_tenant, name) for name in "ab")
    assert a != b
    assert a[-4:] == (str, "a", str, "en")


def test_a_context_variable_that_is_not_set_is_refused():
    """Unset without a default means that nobody knows whose answer it is."""
    with pytest.raises(KeyDerivationError, match=r"context variable 'tenant' of vary= is not set here"):
        contextvars.Context().run(ByHand(fixtures, vary=(tenant,)), "nfl")


def test_only_context_variables_vary():
    """vary= takes ContextVar objects, several of them."""
    assert "write vary=(tenant,)" in refused(fixtures, vary=tenant)
    assert "not 'tenant' (str)" in refused(fixtures, vary=("tenant",))


# --- keys from names


def test_a_key_from_names_equals_the_calls():
    """invalidate_key and a call mean the same key."""
    key = ByHand(fixtures)
    assert key.recipe.key_from_names({"limit": 5, "live": True, "sport": "nfl"}) == key("nfl")


def test_dotted_names_are_given_as_written():
    """The values of the key's own names are enough."""

    async def page(user, q, flag, session): ...

    key = ByHand(page, key="{user.id}:{q[page]!r}:{flag!s}", ignore=("session",))
    names = {"user.id": 7, "q[page]": "x", "flag": 1}
    assert key.recipe.key_from_names(names) == key(User(7), {"page": "x"}, 1, None)


def test_variadic_parameters_by_name():
    """A list of arguments means what *args would have gathered."""
    key = ByHand(everything)
    names = {"a": 1, "b": 2, "args": [3], "c": 3, "kwargs": [("x", 1)]}
    assert key.recipe.key_from_names(names) == key(1, 2, 3, x=1)


def test_the_instance_by_name():
    """self= is given where the instance is in the key."""
    key, service = ByHand(Service.odds), Service()
    assert key.recipe.key_from_names({"self": service, "league": "nba"}) == key(service, "nba")


def test_context_variables_come_from_the_current_context():
    """vary= needs no name."""
    key = ByHand(fixtures, vary=(locale,))
    assert key.recipe.key_from_names({"sport": "nfl", "live": True, "limit": 5}) == key("nfl")


def test_missing_and_unknown_names_are_told():
    """TypeError names them and those that there are."""
    recipe = ByHand(fixtures, name="f").recipe
    with pytest.raises(TypeError, match="'live' and 'limit' are missing; its key is made of sport, live, limit"):
        recipe.key_from_names({"sport": "nfl"})
    with pytest.raises(TypeError, match="'x' is not in the key"):
        recipe.key_from_names({"sport": "nfl", "live": True, "limit": 5, "x": 1})
    with pytest.raises(TypeError, match="its key is made of no names"):
        ByHand(nothing, name="f").recipe.key_from_names({"x": 1})


def test_all_missing_names_are_told():
    """However many there are."""
    with pytest.raises(TypeError, match="^f: 'sport', 'live' and 'limit' are missing;"):
        ByHand(fixtures, name="f").recipe.key_from_names({})


def test_a_key_function_takes_no_names():
    """Names do not make its key."""
    with pytest.raises(TypeError, match="made by a key function"):
        ByHand(fixtures, key=lambda *_: 1).recipe.key_from_names({"sport": "nfl"})


# --- refusals on the way


def test_refusal_names_the_parts_and_no_values():
    """What fails while a key is made becomes a KeyDerivationError."""
    recipe = ByHand(fixtures, name="f").recipe
    error = recipe.refusal(AttributeError("secret"))
    assert "making the key of this call out of sport, live, limit raised AttributeError" in str(error)
    assert "secret" not in str(error)
    assert recipe.refusal(error) is error
