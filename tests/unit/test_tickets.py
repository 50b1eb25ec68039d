"""Tickets: which fetches may still be joined, and that nothing of ended ones stays."""

import gc
import threading

from coalesce_kit.tickets import Tickets


def test_a_ticket_is_good_until_its_key_is_voided() -> None:
    """Voiding a key voids its ticket and no other key's."""
    tickets = Tickets()
    mine, other = tickets.reserve("mine"), tickets.reserve("other")
    assert mine.is_good()
    assert tickets.void("mine") == 1

    assert not mine.is_good()
    assert other.is_good()


def test_voiding_a_key_voids_all_its_tickets() -> None:
    """A detached fetch beside a newer one is voided with it: there is no single slot to overwrite."""
    tickets = Tickets()
    old, new = tickets.reserve("key"), tickets.reserve("key")

    assert tickets.void("key") == 2
    assert not old.is_good()
    assert not new.is_good()


def test_voiding_everything_voids_every_key() -> None:
    """``void_all`` reaches older tickets, too."""
    tickets = Tickets()
    all_of_them = [tickets.reserve(key) for key in ("a", "a", "b")]

    assert tickets.void_all() == 3
    assert [ticket.is_good() for ticket in all_of_them] == [False] * 3


def test_a_ticket_taken_after_the_voiding_is_good() -> None:
    """An invalidation concerns what began before it."""
    tickets = Tickets()
    old = tickets.reserve("key")
    tickets.void("key")
    new = tickets.reserve("key")

    assert not old.is_good()
    assert new.is_good()
    assert tickets.void("key") == 1  # the old one is void already


def test_every_voiding_advances_the_epoch() -> None:
    """The epoch counts invalidations, whatever they found; a ticket notes it."""
    tickets = Tickets()
    first = tickets.reserve("key")
    tickets.void("unknown")
    tickets.void_all()

    assert first.epoch == 0
    assert tickets.epoch == 2
    assert tickets.reserve("key").epoch == 2


def test_a_released_ticket_is_out_of_reach() -> None:
    """A fetch that has ended is not voided any more, and its key is not held."""
    tickets = Tickets()
    ticket = tickets.reserve("key")
    tickets.release(ticket)

    assert len(tickets) == 0
    assert tickets.void("key") == 0
    assert ticket.is_good()


def test_tickets_are_released_in_any_order() -> None:
    """Of several tickets of a key, any may end first; the others stay in reach."""
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [0, 2, 1], [2, 0, 1]):
        tickets = Tickets()
        out = [tickets.reserve("key") for _ in range(3)]
        for released, place in enumerate(order, start=1):
            tickets.release(out[place])
            assert len(tickets) == (released < 3)
            alive = Tickets.void(tickets, "key")
            assert alive == (3 - released if released == 1 else 0)  # those in reach were voided in the first round


def test_releasing_twice_is_harmless() -> None:
    """A ticket that is not out is ignored, also when another of its key is."""
    tickets = Tickets()
    first, second = tickets.reserve("key"), tickets.reserve("key")
    tickets.release(first)
    tickets.release(first)
    assert tickets.void("key") == 1
    tickets.release(second)
    tickets.release(second)
    tickets.release(first)

    assert len(tickets) == 0


def test_a_released_ticket_does_not_hold_older_ones() -> None:
    """No chain of ended fetches grows behind a key that is always in flight."""
    tickets = Tickets()
    last = tickets.reserve("key")
    for _ in range(1000):
        new = tickets.reserve("key")
        tickets.release(last)
        last = new

    assert last.older is None
    assert len(tickets) == 1


def test_a_finaliser_may_invalidate_inside_the_lock() -> None:
    """The garbage collector may run a finaliser that invalidates while a ticket is being taken: no deadlock."""
    tickets = Tickets()

    class Key:
        def __hash__(self) -> int:
            if not done:
                done.append(tickets.void_all())  # what a finaliser started by an allocation would do
            return 1

    done: list[int] = []
    ticket = tickets.reserve(Key())

    assert done == [0]
    assert ticket.is_good()


def test_threads_lose_no_ticket() -> None:
    """Reserving, voiding and releasing from several threads leaves nothing behind and counts every voiding."""
    tickets = Tickets()
    begin = threading.Barrier(4)

    def work(key: str) -> None:
        begin.wait()
        for _ in range(2000):
            ticket = tickets.reserve(key)
            tickets.void(key)
            assert not ticket.is_good()
            tickets.release(ticket)

    threads = [threading.Thread(target=work, args=(key,)) for key in ("a", "a", "b", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()

    assert len(tickets) == 0
    assert tickets.epoch == 8000
