"""Dashboard, alerts and docs against /metrics: nothing is asked that isn't told, and all that is told is explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.diagnosis import CATEGORIES
from relay.children.roster import Staff
from relay.dispatch.connection import State
from relay.listener.happening import HAPPENINGS
from relay.message.values import Result
from relay.metrics.definitions import Metrics, QueueSize
from relay.metrics.gauges import Room
from relay.queue.store import ZoneCount
from tests.promql import Asked, read, tokens

HERE = Path(__file__).parents[2]
DASHBOARD = HERE / "contrib" / "grafana" / "zonerelay.json"
ALERTS = HERE / "contrib" / "prometheus" / "alerts.yml"
DOCS = HERE / "docs" / "metrics.md"
#: Labels that Prometheus gives each sample.
SCRAPED = frozenset(("instance", "job"))
#: Labels whose values are names of an operator's, or of strangers.
NAMES = frozenset(("zone", "site", "sink", "listener", "place", "reason", "le"))

Exposed = dict[str, dict[str, set[str]]]


class _Sink:
    name = "log"
    behind = aside = taken = missed = failures = last = 1


def a_full_one() -> Metrics:
    """Everything that can be counted has been, once at least."""
    metrics = Metrics(lambda: 1000)
    for result in Result:
        metrics.delivery("default", result)
    metrics.pushed(True)
    for kind in ("failure", "delay", "success"):
        metrics.notice(kind)
    metrics.no_notice("null sender")
    for category in CATEGORIES:
        metrics.refusal(category, "defer")
    metrics.returned("sent-on")
    metrics.decision("suspended")
    metrics.announce_listener("feeder", HAPPENINGS)
    metrics.clients = lambda: {"feeder": 1}
    metrics.waiting = lambda: {"turn": 1}
    metrics.keys = lambda: {"bad": 0, "all": 1}
    metrics.rules = lambda: {"own": 1, "shipped": 1}
    metrics.sinks = lambda: [_Sink()]
    metrics.queue_size = lambda: QueueSize(1, 1)
    metrics.attempted("default", "site.test", 0, 0.5, first=True, delivered=True)
    gauges = metrics.gauges
    gauges.zones = lambda: {"default": ZoneCount(1, 2, 3)}
    gauges.overdue = lambda: {"default": 1.0}
    gauges.connections = lambda: {("default", state.name.lower()): 1 for state in State}
    gauges.staff = lambda: {("sender", "default"): Staff(2, 1, 3)}
    gauges.backoffs = lambda: ({"suspended": 1}, 5.0)
    gauges.room = lambda: Room(True, False, 10, 5)
    return metrics


def exposed(text: str) -> Exposed:
    """Of each sample's name its labels, and of each label the values."""
    found: Exposed = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser gives every counter an end, so what stands there is asked of the text.
            name = sample.name if re.search(rf"^{sample.name}[ {{]", text, re.MULTILINE) else family.name
            labels = found.setdefault(name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def panels(dashboard: Any) -> list[tuple[str, str]]:
    """(title, expression) of each target."""
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", "5m"))
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


class ContribTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exposed = exposed(a_full_one().exposition().decode())

    def check(self, where: str, expression: str) -> None:
        question = read(expression)
        self.assertTrue(question.series, where)
        for name, matchers in question.series:
            self.assertIn(name, self.exposed, f"{where}: no such metric")
            labels = self.exposed[name]
            for label, operator, value in matchers:
                if label not in SCRAPED:
                    self.assertIn(label, labels, f"{where}: {name} has no such label")
                if label not in SCRAPED | NAMES:
                    for word in value.split("|") if operator in ("=~", "!~") else (value,):
                        self.assertIn(word, labels[label], f"{where}: {name} has no such {label}")
            # What is joined to another has the labels of the scrape in common with it at most.
            if not name.startswith("process_"):
                self.assertLessEqual(question.labels - SCRAPED, {*labels}, f"{where}: {name} lacks labels")

    def test_the_dashboard_asks_for_what_is_told(self) -> None:
        found = panels(json.loads(DASHBOARD.read_text()))
        self.assertGreater(len(found), 50)
        for title, expression in found:
            self.check(title, expression)

    def test_its_variables_and_legends_do(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text())
        queries = [one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
        self.assertEqual(len(queries), 2)
        for query in queries:
            match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
            assert match is not None
            [asked] = read(match[1]).series
            self.assertIn(match[2], {*self.exposed[asked.name], *SCRAPED})
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                question = read(target["expr"].replace("$__rate_interval", "5m"))
                labels = {label for asked in question.series for label in self.exposed[asked.name]}
                wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                self.assertLessEqual(wanted, question.labels | SCRAPED, panel["title"])
                self.assertLessEqual(wanted, labels | SCRAPED, panel["title"])

    def test_it_can_be_imported(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"}, panel["title"])
        places = [panel["gridPos"] for panel in dashboard["panels"]]
        cells = [
            (x, y)
            for place in places
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        self.assertEqual(len(cells), len(set(cells)), "panels lie over one another")
        self.assertLess(max(x for x, _ in cells), 24)

    def test_alerts_ask_for_what_is_told(self) -> None:
        for rule in rules():
            self.check(rule["alert"], rule["expr"])

    def test_alerts_are_whole(self) -> None:
        found = rules()
        self.assertEqual(len({rule["alert"] for rule in found}), len(found))
        text = DOCS.read_text()
        headings = re.findall(r"^### (\w+)$", text, re.MULTILINE)
        self.assertEqual([rule["alert"] for rule in found], headings)
        for rule in found:
            name, question = rule["alert"], read(rule["expr"])
            self.assertRegex(rule["for"], r"^\d+m$", name)
            self.assertIn(rule["labels"]["severity"], ("warning", "critical"), name)
            self.assertEqual(rule["annotations"]["runbook"], f"docs/metrics.md#{name.lower()}")
            said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
            for asked in question.series:
                self.assertLessEqual(said - SCRAPED, {*self.exposed[asked.name]}, name)
            grouped = question.labels - {"le"}
            if grouped and "on (" not in rule["expr"]:
                self.assertLessEqual(said, grouped, name)

    def test_docs_have_every_metric_with_its_labels(self) -> None:
        rows = re.findall(r"^\| `(zone\w+_\w+)` \| ([^|]*)\|", DOCS.read_text(), re.MULTILINE)
        documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
        self.assertEqual(len(rows), len(documented), "a metric has two rows")
        told: dict[str, set[str]] = {}
        for name, labels in self.exposed.items():
            if name.startswith(("zonerelay_", "zonemta_")):
                name = re.sub(r"_(bucket|count|sum)$", "", name)
                told.setdefault(name, set()).update({*labels} - {"le"})
        self.assertEqual(told, documented)


class ReadingTests(SynchronousTestCase):
    def test_names_matchers_and_labels(self) -> None:
        inner = 'sum by (le, zone) (rate(a_bucket{zone=~"x|y", i="\\"{}"}[5m]))'
        question = read(f"histogram_quantile(0.9, {inner}) > b offset 1h")
        self.assertEqual(
            question.series, [Asked("a_bucket", (("zone", "=~", "x|y"), ("i", "=", '\\"{}'))), Asked("b")]
        )
        self.assertEqual(question.labels, {"le", "zone"})

    def test_arithmetic_and_joins(self) -> None:
        question = read("a / on (instance) group_left () b and 4 * 3600 < c{} unless absent(d)")
        self.assertEqual([asked.name for asked in question.series], ["a", "b", "c", "d"])
        self.assertEqual(question.labels, {"instance"})

    def test_what_is_not_known_is_an_error(self) -> None:
        for expression in ("a ~ b", "no_function(a)", 'a{x~"y"}', 'a{x="y" z="w"}', "sum by zone (a)", "a{x=y}"):
            with self.assertRaises(ValueError, msg=expression):
                read(expression)

    def test_durations_are_no_names(self) -> None:
        self.assertEqual([kind for kind, _ in tokens("a[5m] offset 1h")], ["name", "range", "name", "duration"])
