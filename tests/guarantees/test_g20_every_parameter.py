"""G20: a parameter that is neither in the key nor ignored is an error at decoration, never another caller's session."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from coalesce_kit import ConfigurationError, KeyDerivationError, coalesced
from tests.fakes import Origin, outcomes, start, turns


async def with_session(session: Any, league: str) -> None: ...


async def keyword_only(league: str, *, session: Any = None) -> None: ...


async def positional_only(session: Any, /, league: str) -> None: ...


async def any_number(league: str, *session: Any) -> None: ...


async def any_keyword(league: str, **session: Any) -> None: ...


class Api:
    async def method(self, session: Any, league: str) -> None: ...

    @classmethod
    async def class_method(cls, session: Any, league: str) -> None: ...


WRITTEN = {"template": "odds:{league}", "names": ("league",), "list of names": ["league"]}

FORGETFUL: list[Callable[..., Any]] = [
    with_session,
    keyword_only,
    positional_only,
    any_number,
    any_keyword,
    Api.method,
    vars(Api)["class_method"],
]


@pytest.mark.parametrize("key", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("function", FORGETFUL, ids=lambda function: function.__name__)
def test_g20_a_forgotten_parameter_is_an_error(function: Callable[..., Any], key: Any) -> None:
    """A written key that leaves a parameter out, of whatever kind, is refused, and says what would happen."""
    with pytest.raises(ConfigurationError) as refused:
        coalesced(key=key)(function)

    assert "'session' is neither in the key nor in ignore=" in str(refused.value)
    assert "every caller would get the answer made with the first caller's session" in str(refused.value)


@pytest.mark.parametrize("key", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("function", FORGETFUL, ids=lambda function: function.__name__)
def test_g20_what_is_ignored_is_accounted_for(function: Callable[..., Any], key: Any) -> None:
    """With ``ignore`` the same key is accepted; the instance or class of a method need not be mentioned."""
    assert coalesced(key=key, ignore=("session",))(function)


@pytest.mark.parametrize(
    ("key", "ignore"),
    [
        ("odds:{league}:{session.user.id}", ()),
        ("odds:{league}:{session[user]}", ()),
        (("league", "session.user.id"), ()),
        (lambda session, league: league, ()),
        (None, ()),
        (None, ("session",)),
        (None, ("session", "league")),
    ],
)
def test_g20_ways_to_account_for_every_parameter(key: Any, ignore: tuple[str, ...]) -> None:
    """A part of a parameter accounts for it, a key function answers for itself, and without a key all are in it."""
    assert coalesced(key=key, ignore=ignore)(with_session)


def test_g20_all_forgotten_parameters_are_named() -> None:
    """The message names every parameter that was forgotten, and both ways out."""

    async def odds(session: Any, league: str, request: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="'session' and 'request' are neither in the key nor in ignore=") as no:
        coalesced(key="odds:{league}")(odds)
    assert "{session}, {request}" in str(no.value)
    assert "ignore=('session', 'request')" in str(no.value)


def test_g20_a_parameter_is_in_the_key_or_ignored_and_not_both() -> None:
    """A parameter in both is an error, and so is one in ``ignore`` that does not exist."""
    with pytest.raises(ConfigurationError, match="'session' is both in the key and in ignore="):
        coalesced(key="odds:{league}:{session}", ignore=("session",))(with_session)
    with pytest.raises(ConfigurationError, match="'sesion', which is no parameter"):
        coalesced(ignore=("sesion",))(with_session)


def test_g20_a_key_that_no_argument_changes_is_an_error() -> None:
    """Braces that were forgotten would give everybody one answer: that is refused, too."""
    for key in ("league", "odds"):
        with pytest.raises(ConfigurationError, match="would give every call the same key"):
            coalesced(key=key, ignore=("session",))(with_session)


def test_g20_switching_off_does_not_switch_off_the_check() -> None:
    """With ``enabled=False``, as in a test environment, a forgotten parameter is an error all the same."""
    with pytest.raises(ConfigurationError, match="neither in the key nor in ignore="):
        coalesced(key="odds:{league}", enabled=False)(with_session)
    with pytest.raises(ConfigurationError, match="neither in the key nor in ignore="):
        coalesced.using(enabled=False)(key="odds:{league}")(with_session)


@pytest.mark.parametrize("function", FORGETFUL, ids=lambda function: function.__name__)
@pytest.mark.parametrize("ignore", [(), ("session",), ("league",), ("league", "session")])
def test_g20_every_parameter_is_in_the_key_or_outside_of_it(
    function: Callable[..., Any], ignore: tuple[str, ...]
) -> None:
    """Of every parameter the function knows which of the two it is."""
    decorated = coalesced(ignore=ignore)(function)
    decorated = getattr(decorated, "__func__", decorated)
    recipe = decorated.__coalesced__._recipe
    in_the_key = {part.parameter for part in recipe.parts}

    assert in_the_key.isdisjoint(recipe.outside)
    assert in_the_key | set(recipe.outside) == set(inspect.signature(decorated).parameters)
    assert set(recipe.outside) == set(ignore)


class Session:
    """Is compared by identity, as sessions are."""

    def __init__(self, user: str) -> None:
        self.user = user


@pytest.mark.on_every_loop
@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ({"key": "{league}:{session.user}"}, [0, 1, 0]),
        ({"key": ("league", "session.user")}, [0, 1, 0]),
        ({"key": lambda session, league: (session.user, league)}, [0, 1, 0]),
        ({"ignore": ("session",)}, [0, 0, 0]),
    ],
)
async def test_g20_callers_with_other_sessions_share_only_where_it_is_written(
    options: dict[str, Any], answers: list[int]
) -> None:
    """Answers made with two users' sessions are told apart, unless ``ignore`` says that they need not be."""
    origin = Origin()

    @coalesced(**options)
    async def odds(session: Session, league: str) -> Any:
        return await origin(session.user, league)

    tasks = start(odds(Session("a"), "nba"), odds(Session("b"), "nba"), odds(Session("a"), "nba"))
    await turns()
    for number in range(origin.working):
        origin.answer(number)

    assert await outcomes(tasks) == answers


@pytest.mark.on_every_loop
async def test_g20_a_session_in_the_default_key_is_refused() -> None:
    """An argument compared by identity makes every call a key of its own, so the call says that and runs nothing."""
    origin = Origin()

    @coalesced
    async def odds(session: Session, league: str) -> Any:
        return await origin(session.user, league)

    with pytest.raises(KeyDerivationError, match=r"'session' is a Session.*leave it out with ignore=\('session',\)"):
        await odds(Session("a"), "nba")
    assert origin.calls == []
    assert odds.stats().rejected_requests == 1
