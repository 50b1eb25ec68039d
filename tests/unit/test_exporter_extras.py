"""An exporter without its library says so at once, in one line that has the way out."""

from __future__ import annotations

import importlib
import sys

import pytest

from coalesce_kit.exporters.extras import needed


def test_what_is_installed_is_named_and_not_imported(monkeypatch):
    """Asking whether a library is there does not run it."""
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    assert needed("antigravity", extra="flying") == "antigravity"
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.part", "json.no_such_part"])
def test_what_is_not_installed_has_a_way_out(module):
    """The message is one line and names what to install."""
    with pytest.raises(ImportError) as caught:
        needed(module, extra="thing")
    assert str(caught.value) == f'{module} is not installed: pip install "coalesce-kit[thing]"'
    assert caught.value.name == module


@pytest.mark.parametrize(
    ("exporter", "library"), [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry")]
)
def test_an_exporter_without_its_library_cannot_be_imported(exporter, library, monkeypatch):
    """The error comes when the module is imported, not when a service is at work."""
    module = f"coalesce_kit.exporters.{exporter}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf'pip install "coalesce-kit\[{exporter}\]"'):
        importlib.import_module(module)
