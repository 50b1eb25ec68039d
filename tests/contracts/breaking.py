"""Running one test of a contract on something that is broken, to see that it fails."""

from __future__ import annotations

import asyncio
import gc
import inspect

from coalesce_kit.testing.clock import DeadlockError, run
from coalesce_kit.testing.leaks import unretrieved

HOW_TESTS_FAIL = (AssertionError, TimeoutError, LookupError, asyncio.CancelledError)
"""Not a ``NameError``: what is broken by mistake shows nothing."""


def names_of_tests(contract: type) -> set[str]:
    """The names of a contract's tests."""
    return {name for name, _ in inspect.getmembers(contract, callable) if name.startswith("test_")}


def fails(contract: object, test: str) -> None:
    """Run a test of a contract in virtual time, and fail unless it does."""

    async def judged() -> None:
        await getattr(contract, test)()

    failure = ""
    with unretrieved():
        try:
            run(judged())
        except DeadlockError:
            raise  # that is no failure: with a real clock it would wait for ever
        except HOW_TESTS_FAIL as error:
            failure = repr(error)  # and not the error, whose traceback holds everything
        gc.collect()
    assert failure, f"{test} does not notice"
