"""Tags made from a call's arguments."""

from __future__ import annotations

import contextvars
import inspect

import pytest

from coalesce_kit.errors import ConfigurationError, KeyTemplateError
from coalesce_kit.keys import compile_tags

tenant = contextvars.ContextVar("tenant", default="acme")


async def odds(self, league, q, *, __ck_repr=None):
    """An origin."""


class Service:
    region = "eu"


def tags_of(tags, *, vary=(), **arguments):
    """The tags of a call with these arguments."""
    compiled = compile_tags(tags, inspect.signature(odds), vary=vary, name="f")
    return eval(compiled.source, {"__builtins__": {}}, {**compiled.bindings, **arguments})


def test_tags_are_plain_text():
    """As whoever invalidates them writes them."""
    tags = ("odds", "league:{league}", "{self.region}/{q[page]}", "100%", "{league}%{league!r}", "{{{q!s}}}")
    assert tags_of(tags, self=Service(), league="nba", q={"page": 5}) == (
        "odds",
        "league:nba",
        "eu/5",
        "100%",
        "nba%'nba'",
        "{{'page': 5}}",
    )


def test_one_tag_and_none():
    """The source is always a tuple."""
    assert tags_of(("odds",)) == ("odds",)
    assert tags_of(("{league}",), league=("a", "b")) == ("('a', 'b')",)
    assert tags_of(()) == ()


def test_tags_may_name_the_context_variables_of_vary():
    """Where a parameter has the same name, it is meant."""
    league = contextvars.ContextVar("league", default="var")
    assert tags_of(("{tenant}:{league}",), vary=(league, tenant), league="nba") == ("acme:nba",)


@pytest.mark.parametrize(
    ("tags", "error", "says"),
    [
        ("odds", ConfigurationError, r"write tags=\('odds',\)"),
        ((5,), ConfigurationError, "non-empty string, not 5"),
        (("",), ConfigurationError, "non-empty string, not ''"),
        (("{x}",), KeyTemplateError, "f: the tag '{x}': the function has no parameter 'x'; it has self, league, q"),
        (("{tenant}",), KeyTemplateError, "no parameter 'tenant'"),
        (("{league!h}",), KeyTemplateError, "cannot hold a digest"),
        (("{league}{q}",), KeyTemplateError, "side by side"),
    ],
    ids=["one_string", "number", "empty", "unknown", "not_varied", "digest", "adjacent"],
)
def test_wrong_tags_are_refused(tags, error, says):
    """At decoration, with what to write instead."""
    with pytest.raises(error, match=says):
        tags_of(tags)
