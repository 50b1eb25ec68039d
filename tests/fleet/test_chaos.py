"""Faults of workers, servers and networks, over real processes and a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.fleet.faults import FAULTS
from tests.fleet.playing import Played, play

pytestmark = pytest.mark.heavy("redis")

AT_A_TIME = 4
"""So many stories are played beside each other, each with its own server."""


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Played]]]:
    """The stories of the chosen tests, several at a time: most of each is waiting."""
    names = [item.callspec.params["name"] for item in request.session.items if item.originalname == "test_fault"]
    futures: dict[str, Future[Played]] = {name: Future() for name in names}

    async def play_all() -> None:
        places = asyncio.Semaphore(AT_A_TIME)

        async def one(name: str) -> None:
            async with places:
                try:
                    futures[name].set_result(await play(name))
                except BaseException as error:
                    futures[name].set_exception(error)

        await asyncio.gather(*map(one, names))

    thread = threading.Thread(target=asyncio.run, args=(play_all(),))
    thread.start()
    yield futures
    thread.join()


@pytest.mark.parametrize("name", FAULTS)
def test_fault(played, name, tmp_path):
    """No promise is broken, every caller gets an answer, and the function ran no more often than it had to."""
    story = played[name].result()
    wrong = [*story.complaints(), *story.disappointments()]
    if wrong:
        (tmp_path / "log").write_text("\n".join(map(str, story.log)))
    assert wrong == [], f"the log is {tmp_path / 'log'}"
