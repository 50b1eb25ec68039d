"""What every cache does behind a decorated function, whatever it chooses to drop: subclass it, say how it is built in.

::

    from coalesce_kit import MemoryCache, coalesced
    from coalesce_kit.testing.cache_contract import ResultCacheContract

    class TestMyCache(ResultCacheContract):
        def keeping(self, *, most: int, ttl: float):
            return coalesced(ttl=ttl, cache=MemoryCache(cache=MyCache(maxsize=most)))

The tests look through the function, as its callers do, and read the package's own clock, which they move; a cache that
has a policy of its own may drop what it likes for another, but never bring back what is gone. The tests are coroutines:
pytest runs them with pytest-asyncio (in its strict mode with ``pytestmark = pytest.mark.asyncio``) or anyio.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from .cache_stage import MOST, TTL_SECONDS, Colliding, decorator_of, kept_by
from .clock import VirtualClock
from .contract_tools import Contract, HeldFetch, begin, ends, to_be_said, turns, unsaid

_ROUNDS: Final = 200
_THREADS: Final = 4


class ResultCacheContract(Contract):
    """What a function's callers may rely on, as tests. See the module for how it is used."""

    @to_be_said("what keeps: def keeping(self, *, most, ttl)")
    def keeping(self, *, most: int, ttl: float) -> Callable[[Callable[..., Any]], Any]:  # noqa: ARG002  # for subclasses
        """Return a decorator that keeps results in one new cache, however many functions it is put on.

        Args:
            most: how many results there is room for, at least and at most.
            ttl: for how many seconds they are used.

        Raises:
            NotImplementedError: a subclass has not said it.
        """
        raise unsaid(self.keeping)

    def numbers(self) -> tuple[Any, list[Any]]:
        """Return a function of one argument behind a new cache, and the list of the arguments that were fetched."""
        fetched: list[Any] = []

        async def number(of: Any) -> tuple[Any, int]:
            fetched.append(of)
            return of, len(fetched)

        return kept_by(self, self.keeping, number), fetched

    # ---- keeping ----

    async def test_what_is_kept_is_the_answer(self) -> None:
        """A second call gets the very object of the first, and nothing is fetched."""
        number, fetched = self.numbers()
        first = await number("a")
        assert await number("a") is first, "the second call gets the very object that was kept of the first"
        assert fetched == ["a"], "fetched, of two calls of one argument"

    async def test_empty_answers_are_answers(self) -> None:
        """``None``, ``False``, ``0`` and what is empty is kept like anything else."""
        answers: tuple[object, ...] = (None, False, 0, "", ())
        fetched: list[int] = []

        async def empty(which: int) -> object:
            fetched.append(which)
            return answers[which]

        kept = kept_by(self, self.keeping, empty)
        for which, answer in enumerate(answers):
            assert [await kept(which), await kept(which)] == [answer, answer]
            assert fetched.count(which) == 1, f"{answer!r} was not kept"

    async def test_a_failure_is_not_kept(self) -> None:
        """What failed is tried again by the next call."""
        number = 0

        async def unsteady() -> int:
            nonlocal number
            number += 1
            if number == 1:
                raise LookupError
            return number

        kept = kept_by(self, self.keeping, unsteady)
        (got,) = await ends(await begin(kept()))
        assert isinstance(got, LookupError), f"the first call fails, and is told so, but it got {got!r}"
        assert await ends(await begin(kept(), kept())) == [2, 2], (
            "after a failure the next call fetches, and it is kept"
        )

    async def test_a_result_ends_with_its_time(self) -> None:
        """At the end of the ttl it is fetched anew."""
        with VirtualClock() as time:
            number, fetched = self.numbers()
            await number("a")
            time.advance(TTL_SECONDS / 2)
            await number("a")
            assert fetched == ["a"], "fetched, when half of the ttl was over"
            time.advance(TTL_SECONDS / 2)
            await number("a")
        assert fetched == ["a", "a"], "fetched, when the ttl was over: the second call after it fetches anew"

    async def test_keys_are_apart(self) -> None:
        """Keys with one hash that are not equal have a result each, and equal ones share one."""
        number, fetched = self.numbers()
        for _ in range(2):
            for which in range(4):
                of, _number = await number(Colliding(which))
                assert of.number == which, "two keys with one hash that are not equal got one result"
        assert len(fetched) == 4, "four keys with one hash were asked for twice, and each is kept under its own"

    async def test_functions_are_apart(self) -> None:
        """Two functions behind one cache share its room, and no result."""
        keeping = decorator_of(self, self.keeping)

        async def one(of: str) -> str:
            return f"one of {of}"

        async def another(of: str) -> str:
            return f"another of {of}"

        first, second = keeping(one), keeping(another)
        for _ in range(2):
            got = [await first("a"), await second("a")]
            assert got == ["one of a", "another of a"], "two functions behind one cache got each other's results"
        first.invalidate_all()
        assert first.peek("a") is None, "what first.invalidate_all() was to drop is still there"
        assert second.peek("a") is not None, "first.invalidate_all() has dropped a result of the second function"
        assert second.peek("a").value == "another of a"

    # ---- room ----

    async def test_it_is_bounded(self) -> None:
        """There are never more results than there is room for, and whatever was dropped for it, answers are right."""
        number, _ = self.numbers()
        for which in range(20 * MOST):
            assert (await number(which))[0] == which, "a call got the result of another argument"
            held = number.stats().cached_entries
            assert held <= MOST, f"a cache that was to keep at most {MOST} results (most) holds {held}"

    async def test_it_is_not_smaller_than_it_says(self) -> None:
        """As many as there is room for are all kept."""
        number, fetched = self.numbers()
        for _ in range(2):
            for which in range(MOST):
                await number(which)
        assert fetched == list(range(MOST)), f"{MOST} results (most) have room, so each is fetched once and then kept"
        assert number.stats().cached_entries == MOST

    async def test_what_was_dropped_is_fetched_again(self) -> None:
        """Whatever went, a call brings it back, and what is held and what was evicted adds up."""
        number, fetched = self.numbers()
        for which in [*range(3 * MOST), *range(3 * MOST)]:
            assert (await number(which))[0] == which, "a call got the result of another argument"
        stats = number.stats()
        assert stats.cached_entries + stats.evictions == len(fetched), (
            f"each of {len(fetched)} results that were fetched is held or was counted as evicted, but "
            f"{stats.cached_entries} are held and {stats.evictions} were evicted: some were lost without a word"
        )

    # ---- changing ----

    async def test_what_was_invalidated_is_gone(self) -> None:
        """The next call fetches; other keys stay."""
        number, fetched = self.numbers()
        await number("a")
        await number("b")
        assert number.invalidate("a").voided == 1, "invalidate() says how many results it has dropped"
        assert number.peek("a") is None, "what was invalidated is still there"
        await number("a")
        await number("b")
        assert fetched == ["a", "b", "a"], "after a was invalidated, a is fetched anew and b is still kept"

    async def test_everything_can_be_invalidated(self) -> None:
        """Afterwards nothing is held, and the room is free."""
        number, fetched = self.numbers()
        for which in range(MOST):
            await number(which)
        number.invalidate_all()
        assert number.stats().cached_entries == 0, "invalidate_all() has left results"
        for _ in range(2):
            for which in range(MOST):
                await number(which)
        assert len(fetched) == 2 * MOST, (
            f"after invalidate_all() there is room for {MOST} results again, each fetched once"
        )

    async def test_what_was_invalidated_while_it_was_fetched_is_not_kept(self) -> None:
        """Who waited gets it; who asks afterwards does not."""
        fetch = HeldFetch()

        async def held() -> Any:
            return await fetch()

        kept = kept_by(self, self.keeping, held)
        early = await begin(kept())
        kept.invalidate()
        fetch.answer("old")
        assert await ends(early) == ["old"], "who waited when it was invalidated gets what was being fetched"
        assert kept.peek() is None, "what was invalidated while it was fetched was kept"
        late = await begin(kept())
        fetch.answer("new")
        assert [*await ends(late), await kept()] == ["new", "new"], "who asks after that fetches anew, and it is kept"

    async def test_a_new_value_takes_the_place_of_the_old(self) -> None:
        """After ``refresh`` and after ``prime`` the old value is given to nobody, and counts once."""
        number, _ = self.numbers()
        assert await number("a") == ("a", 1)
        assert await number.refresh("a") == ("a", 2), "refresh() fetches, whatever is kept"
        assert await number("a") == ("a", 2), "what refresh() brought is kept in the place of the old result"
        number.prime(("a", 99), "a")
        assert await number("a") == ("a", 99), "what prime() was given is kept in the place of the old result"
        held = number.stats().cached_entries
        assert held == 1, f"one key was fetched, refreshed and primed, and is kept once, but counted {held} times"

    async def test_a_look_changes_nothing(self) -> None:
        """``peek`` shows what is kept; a thousand looks fetch nothing and count nothing."""
        number, fetched = self.numbers()
        assert number.peek("a") is None, "nothing was fetched yet, and there is something"
        value = await number("a")
        before = number.stats()
        looks = [number.peek("a") for _ in range(1000)]
        assert all(entry is not None and entry.value is value for entry in looks), (
            "peek() shows the object that is kept"
        )
        assert number.stats().total_requests == before.total_requests, "looks are no requests"
        assert fetched == ["a"], "a look has fetched"

    # ---- who holds what ----

    async def test_what_is_gone_is_let_go_of(self) -> None:
        """An invalidated result is held by nobody."""

        class Thing:
            pass

        async def thing() -> Thing:
            return Thing()

        kept = kept_by(self, self.keeping, thing)
        reference = weakref.ref(await kept())
        kept.invalidate()
        await turns()
        gc.collect()
        assert reference() is None, "an invalidated result is still held, by the cache or by what it notes of it"

    async def test_an_instance_is_not_kept_alive(self) -> None:
        """What was fetched for an instance goes with it, and never answers for another one."""
        keeping = decorator_of(self, self.keeping)

        class Service:
            def __init__(self, name: str) -> None:
                self.name = name

            @keeping
            async def who(self) -> str:
                return self.name

        for turn in range(3 * MOST):
            service = Service(f"service {turn}")
            assert await service.who() == f"service {turn}", "an instance got what was fetched for another"
            reference = weakref.ref(service)
            del service
            gc.collect()
            assert reference() is None, "an instance that nobody else holds is held for what was fetched for it"

    async def test_threads_may_change_it_together(self) -> None:
        """Threads that prime, look and invalidate at once leave a cache that is whole."""
        number, _ = self.numbers()
        errors: list[BaseException] = []

        def hammer(which: int) -> None:
            try:
                for turn in range(_ROUNDS):
                    key = (which + turn) % (2 * MOST)
                    number.prime((key, turn), key)
                    entry = number.peek(key)
                    assert entry is None or entry.value[0] == key, "peek() shows what was primed for another key"
                    if turn % 5 == 0:
                        number.invalidate(key)
                    if turn % 50 == 0:
                        number.invalidate_all()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=hammer, args=(which,)) for which in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await asyncio.sleep(0)
        assert not errors, f"{_THREADS} threads changed it at once, and one got: {errors[0]!r}"
        held = number.stats().cached_entries
        assert held <= MOST, f"{_THREADS} threads changed it at once, and of at most {MOST} results it holds {held}"
        number.invalidate_all()
        assert number.stats().cached_entries == 0, "after threads changed it at once, invalidate_all() has left results"
