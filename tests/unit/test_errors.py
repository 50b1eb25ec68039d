"""The package's own errors, and the package run as a program."""

from __future__ import annotations

import pickle
import runpy
import sys

import pytest

import coalesce_kit
from coalesce_kit.errors import RemoteFetchError


def test_an_error_from_another_process_can_be_pickled():
    """It keeps its message, and what it says about that process."""
    error = RemoteFetchError("the function failed there", type_name="odds.Down", origin="pid 7")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.type_name, copy.origin) == (str(error), "odds.Down", "pid 7")


def test_the_package_is_a_program(monkeypatch, capsys):
    """``python -m coalesce_kit --help`` says what there is."""
    monkeypatch.setattr(sys, "argv", ["coalesce-kit", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("coalesce_kit", run_name="__main__")
    assert ended.value.code == 0
    assert "usage: coalesce-kit" in capsys.readouterr().out


def test_the_store_is_a_name_of_the_facade():
    """``RedisStore`` is found where its library is installed, and not before somebody asks."""
    pytest.importorskip("redis")
    assert coalesce_kit.RedisStore.__name__ == "RedisStore"
