"""What stands beside the metrics: rules, alerts with their pages, a dashboard, and a target for every worker."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml

from coalesce_kit.exporters.prometheus import CoalesceKitCollector
from coalesce_kit.stats.counters import Counters
from coalesce_kit.stats.registry import StatsRegistry
from coalesce_kit.stats.showing import Limits
from examples.monitoring.workers import PORTS, serving_metrics

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples" / "monitoring"
RUNBOOK = ROOT / "docs" / "how-to" / "alerts.md"
RULES = [
    rule for group in yaml.safe_load((MONITORING / "rules.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}


@pytest.fixture(scope="module")
def metrics():
    """Every metric of the collector, of a function that has everything."""
    registry = StatsRegistry()
    limits = Limits(max_wait_seconds=5, fetch_timeout_seconds=5, max_flight_seconds=5)
    registry.register("odds", Counters(store_hits=1), limits=lambda: limits)
    return list(CoalesceKitCollector(registry).collect())


@pytest.fixture(scope="module")
def samples(metrics):
    """Every sample of the collector: its labels by its name."""
    found = {}
    for metric in metrics:
        for sample in metric.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_what_is_asked_for_is_exported(expression, samples):
    """Every metric that a rule or a panel names is one of the collector's, or recorded by a rule."""
    asked = set(re.findall(r"[\w:]*coalesce_kit_[\w:]+", expression))
    assert asked
    assert asked <= samples.keys() | RECORDED


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_a_label_that_is_asked_for_has_the_value(expression, samples):
    """An outcome, a reason or a limit that a rule or a panel selects is one that there is."""
    for name, selectors in re.findall(r"(coalesce_kit_\w+)\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selectors):
            if label not in ("job", "function"):
                assert set(value.split("|")) <= samples[name][label]


def test_the_page_lists_every_metric_with_its_type(metrics):
    """The table in the documentation is what is exported, no more and no less."""
    page = (ROOT / "docs" / "how-to" / "prometheus.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `(coalesce_kit_\w+)(?:\{[\w,]+\})?` \| (\w+) \|", page, re.MULTILINE))
    suffixes = {"counter": "_total", "info": "_info"}
    types = {"info": "gauge"}
    assert listed == {
        metric.name + suffixes.get(metric.type, ""): types.get(metric.type, metric.type) for metric in metrics
    }


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_page(alert):
    """It says how bad it is, what it is about, and where to read what to do: under a heading of its own."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    path, anchor = rule["annotations"]["runbook"].split("#")
    assert (ROOT / path) == RUNBOOK
    assert anchor == alert.lower()
    text = RUNBOOK.read_text("utf-8")
    assert f"\n## {alert}\n" in text
    assert f"| [{alert}](#{anchor}) | {rule['labels']['severity']} |" in text
    section = text.split(f"\n## {alert}\n")[1].split("\n## ")[0]
    assert "**What it means.**" in section
    assert "**What to do.**" in section


def test_the_page_tells_of_no_other_alert():
    """Every section is about an alert that there is."""
    assert re.findall(r"^## (\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE) == list(ALERTS)


def test_every_alert_is_tried():
    """The tests of the rules have each alert fire."""
    tests = yaml.safe_load((MONITORING / "rules_test.yml").read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert fired == ALERTS.keys()


def test_the_dashboard_can_be_imported_anywhere():
    """It names no data source of its own, and every variable that it uses is one of its own or Grafana's."""
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"}
    assert used == variables == {"datasource", "job", "function"}
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert "id" not in DASHBOARD


def test_every_panel_says_what_it_shows():
    """A title, a sentence, a unit, and at least one expression with a legend."""
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_no_panel_lies_on_another():
    """Every panel has a number and a place of its own on the 24 columns."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells


def test_every_worker_is_a_target():
    """The targets differ, and are ports on which the example's workers show their metrics."""
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    targets = [target for config in job["static_configs"] for target in config["targets"]]
    assert len(targets) == len(set(targets)) > 1
    assert {int(target.rpartition(":")[2]) for target in targets} <= set(PORTS)


def free_ports():
    """Return a few ports, the first of which is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        first = probe.getsockname()[1]
    return range(first, min(first + 50, 65_536))


def test_a_worker_takes_the_first_port_that_is_free():
    """Two workers show the numbers on two ports; a port is free again when its worker is gone."""
    ports = free_ports()
    with serving_metrics(ports) as first:
        with serving_metrics(ports) as second:
            assert first != second
            for port in (first, second):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    assert b"coalesce_kit_process_info{" in answer.read()
        with serving_metrics(ports) as third:
            assert third == second


def test_more_workers_than_ports_is_an_error():
    """A worker that nobody could scrape does not start."""
    ports = free_ports()
    with (
        serving_metrics(ports) as taken,
        pytest.raises(RuntimeError, match="more workers than ports"),
        serving_metrics(range(taken, taken + 1)),
    ):
        raise AssertionError("it has started")


@pytest.fixture(scope="module")
def promtool():
    """Run Prometheus' own tool on something."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")

    def run(*arguments):
        done = subprocess.run([path, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "FAILED" not in done.stdout + done.stderr

    return run


@pytest.mark.heavy("promtool")
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "rules.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")],
    ids=" ".join,
)
def test_promtool_accepts_rules_and_configuration(promtool, arguments):
    """The rules are legal, do what their tests say, and are found by the configuration."""
    promtool(*arguments)


@pytest.mark.heavy("promtool")
def test_promtool_accepts_the_expressions_of_the_dashboard(promtool, tmp_path):
    """Every expression of every panel is PromQL."""
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    written = [expression.replace("$__rate_interval", "5m").replace("$", "") for expression in expressions]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(written)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", str(path))
