"""Whether what came back is what was sent: what is looked at, and how much of it."""

from __future__ import annotations

from coalesce_kit.backends.likeness import Likeness


def test_sets_of_other_members_differ():
    """Whether one is missing, or is another one."""
    for one, other in (({1, 2}, {1}), ({1, 2}, {1, 3})):
        assert "of other members" in str(Likeness().compare(one, other).difference)
    assert Likeness().compare({1, 2}, {2, 1}).is_exact


def test_a_large_value_is_looked_at_in_part(monkeypatch):
    """After so many looks nothing more is compared, and that is said."""
    monkeypatch.setattr("coalesce_kit.backends.likeness.MAX_LOOKS", 3)
    verdict = Likeness().compare([[1], [2], [3], [4]], [[1], [2], [3], [5]])
    assert (verdict.difference, verdict.complete, verdict.is_exact) == (None, False, False)


def test_what_is_remembered_of_classes_is_bounded(monkeypatch):
    """Beyond the bound they are looked at anew."""
    monkeypatch.setattr("coalesce_kit.backends.likeness.MAX_CLASSES", 2)
    likeness = Likeness()
    for value in (1, "a", b"a", 1.0, None):
        assert likeness.compare(value, value).is_exact
    assert len(likeness._ways) <= 2
