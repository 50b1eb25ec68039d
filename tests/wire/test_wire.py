"""What a release wrote is read by the next, which writes the same: releases stand side by side during a deploy."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalesce_kit.backends.codec import codec_for
from coalesce_kit.backends.envelope import Envelope, open_envelope
from coalesce_kit.backends.remote_errors import decode_error
from coalesce_kit.errors import RemoteFetchError
from tests.wire.samples import ERRORS, FOLDER, RESULTS, TEXT, NotFound, files, not_found

WRITTEN = files()
KEPT = {path.name: path for path in Path(FOLDER).iterdir() if path.suffix in (".result", ".failure", ".txt")}


def test_every_sample_has_a_file():
    """And every file a sample."""
    assert set(WRITTEN) == set(KEPT)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_today_writes_what_was_written(name):
    """To the byte: bodies, envelopes, failures, fingerprints, keys."""
    assert WRITTEN[name] == KEPT[name].read_bytes()


@pytest.mark.parametrize("case", sorted(RESULTS))
def test_a_kept_result_is_read(case):
    """As the value that it was."""
    sample = RESULTS[case]
    opened = open_envelope((FOLDER / f"{case.replace(' ', '-')}.result").read_bytes(), text=TEXT)
    assert isinstance(opened, Envelope)
    assert (opened.kind, opened.lifetimes, opened.tags) == ("value", sample.lifetimes, sample.tags)
    assert codec_for(sample.annotation, name="f").decode(opened.body) == sample.value


@pytest.mark.parametrize("case", sorted(ERRORS))
def test_a_kept_failure_is_read(case):
    """As the failure that it was."""
    error = decode_error((FOLDER / f"{case.replace(' ', '-')}.failure").read_bytes(), declared=[NotFound])
    if case == "declared error":
        assert type(error) is NotFound
        assert (error.args, error.code) == (not_found().args, 404)
    else:
        assert isinstance(error, RemoteFetchError)
        assert error.type_name == "builtins.ValueError"
