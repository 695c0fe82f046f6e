"""Dashboards and alerts name only metrics that a gateway has, and series that it has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..components.otel.scrapes import comments, names, series
from .expressions import grouping_labels, metric_names, selectors, with_values
from .loaded_gateway import loaded_scrape, sample_names

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/hutch-gateway.json").read_text())
ALERTS = DEPLOY / "prometheus/alerts.yml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="there is no promtool (Debian package prometheus)"
)

ADDED_BY_PROMETHEUS = {"job", "instance", "le"}
"""Labels that a series has in Prometheus and not in a scrape; ``le``: of buckets only."""

OF_20651 = {
    "http_client_duration_bucket",
    "http_client_duration_count",
    "http_client_duration_sum",
    "http_client_request_canceled_count_total",
    "http_client_request_dns_duration_bucket",
    "http_client_request_dns_duration_count",
    "http_client_request_dns_duration_sum",
    "http_client_request_failed_count_total",
    "http_client_request_get_conn_duration_bucket",
    "http_client_request_get_conn_duration_count",
    "http_client_request_get_conn_duration_sum",
    "http_client_request_started_count_total",
    "http_client_request_timedout_count_total",
    "http_client_request_tls_duration_bucket",
    "http_client_request_tls_duration_count",
    "http_client_request_tls_duration_sum",
    "http_client_response_no_content_length_total",
    "http_client_response_size_bucket",
    "http_client_response_size_count",
    "http_client_response_size_sum",
    "http_server_duration_bucket",
    "http_server_duration_count",
    "http_server_duration_sum",
    "http_server_response_size_bucket",
    "http_server_response_size_count",
    "http_server_response_size_sum",
    "krakend_backend_duration_bucket",
    "krakend_backend_duration_count",
    "krakend_backend_duration_sum",
    "krakend_proxy_duration_bucket",
    "krakend_proxy_duration_count",
    "krakend_proxy_duration_sum",
}
"""The names in the expressions of KrakenD's dashboard 20651 on grafana.com, version 1. Without
those of Go's runtime, and without the sum and the count of http_client_request_read_size_hist,
which KrakenD itself does not have."""

NO_HELP = re.compile(r"(http_client|http_server|krakend)_\w+ no help text")
"""A finding of promtool about metrics of KrakenD, which has them without a text."""


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def scraped(request: pytest.FixtureRequest) -> str:
    return loaded_scrape(request.param)


@pytest.fixture(scope="module")
def scraped_of_1_27() -> str:
    """With the names of ``"semantic_convention": "1.27"``."""
    return loaded_scrape("asyncio", "1.27")


def expressions(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))
        yield from expressions(panel.get("panels", []))


def variable_expressions() -> Iterator[str]:
    """What the variables are read from: ``label_values(EXPRESSION, LABEL)``."""
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            assert found is not None, variable["name"]
            assert variable["query"]["query"] == variable["definition"]
            yield f"group by ({found[2]}) ({found[1]})"


EXPRESSIONS = [
    *expressions(DASHBOARD["panels"]),
    *variable_expressions(),
    *(rule["expr"] for rule in RULES),
]


def test_names_are_found_in_an_expression() -> None:
    text = 'sum by (a, b) (rate(x_total{c=~"$d", e!="f(g)"}[$__rate_interval])) / (y_sum or 0 * z)'
    assert metric_names(text) == {"x_total", "y_sum", "z"}
    assert grouping_labels(text) == {"a", "b"}
    [(name, matchers)] = selectors(text)
    assert (name, [*map(tuple, matchers)]) == (
        "x_total",
        [("c", "=~", ".*"), ("e", "!=", "f(g)")],
    )


def test_each_metric_of_the_dashboard_and_of_the_alerts_exists(scraped: str) -> None:
    assert len(EXPRESSIONS) > 80
    wanted = set().union(*map(metric_names, EXPRESSIONS))
    assert len(wanted) > 50
    assert wanted - sample_names(scraped) == set()


def test_each_metric_of_krakends_dashboard_exists(scraped: str) -> None:
    assert OF_20651 - sample_names(scraped) == set()


def test_each_selector_of_the_dashboard_and_of_the_alerts_has_series(scraped: str) -> None:
    """With a label or a value that does not exist a panel would stay empty, and an alert silent."""
    for expression in EXPRESSIONS:
        for name, matchers in selectors(expression):
            own = [each for each in matchers if each.label not in ADDED_BY_PROMETHEUS]
            found = [labels for labels, _ in series(scraped, name)]
            known = set().union(*found)
            assert {each.label for each in own} <= known, expression
            if "unroutable|" not in expression:  # the alert names rare errors, too
                accepted = [ls for ls in found if all(each.accepts(ls) for each in own)]
                assert accepted, expression


def test_each_label_by_which_an_expression_groups_exists(scraped: str) -> None:
    for expression in EXPRESSIONS:
        known = [
            set().union(*(labels for labels, _ in series(scraped, name)))
            for name in metric_names(expression)
        ]
        for labels in known:
            unknown = grouping_labels(expression) - labels - ADDED_BY_PROMETHEUS
            assert unknown == set(), expression


def test_each_label_in_a_legend_is_one_by_which_its_expression_groups() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    for panel in panels:
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= grouping_labels(target["expr"]), panel["title"]


def test_panels_have_a_description_a_place_and_a_number_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert [each["title"] for each in panels if not each.get("description")] == [
        each["title"] for each in panels if each["type"] == "row"
    ]
    numbers = [each["id"] for each in panels]
    assert len(numbers) == len({*numbers})
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]  # columns of Grafana
        assert not own & cells, panel["title"]
        cells |= own


def test_each_alert_says_what_it_means_and_what_to_do_first() -> None:
    assert len(RULES) == 8
    for rule in RULES:
        assert rule["annotations"]["summary"]
        assert "First: " in rule["annotations"]["description"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["for"]


def test_the_example_for_prometheus_reads_the_alerts() -> None:
    config = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text())
    assert [(ALERTS.parent / each).resolve() for each in config["rule_files"]] == [ALERTS]


def documented() -> dict[str, str]:
    """The families in the tables of the documentation, and their types."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    section = text.partition("\n### Metrics\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.*?) \| (counter|gauge|histogram) \|", section, re.MULTILINE)
    return {name: kind for cell, kind in rows for name in re.findall(r"`(\w+)`", cell)}


def test_the_documentation_has_each_family(scraped: str, scraped_of_1_27: str) -> None:
    kinds = comments(scraped, "TYPE") | comments(scraped_of_1_27, "TYPE")
    assert documented() == kinds


def promtool(*arguments: str, text: str = "") -> str:
    """The output. Fails if promtool fails, unless it only has findings about metrics."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], input=text, capture_output=True, text=True, timeout=50
    )
    assert done.returncode in ((0, 3) if "metrics" in arguments else (0,)), done
    return done.stdout + done.stderr


@needs_promtool
def test_promtool_reads_a_scrape(scraped: str, scraped_of_1_27: str) -> None:
    for text in (scraped, scraped_of_1_27):
        findings = promtool("check", "metrics", text=text).splitlines()
        assert [each for each in findings if not NO_HELP.fullmatch(each)] == []


@needs_promtool
def test_promtool_accepts_the_alerts_and_the_example() -> None:
    assert "8 rules found" in promtool("check", "rules", str(ALERTS))
    promtool("check", "config", str(ALERTS.parent / "prometheus.yml"))


@needs_promtool
def test_promtool_accepts_each_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"expression:{number}", "expr": with_values(expression)}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))


@needs_promtool
def test_alerts_fire_when_they_should() -> None:
    promtool("test", "rules", str(Path(__file__).parent / "alerts_test.yml"))


def test_a_family_has_the_same_name_in_all_places(scraped: str) -> None:
    """The names of the alerts' unit tests exist, too: a wrong one would test nothing."""
    text = (Path(__file__).parent / "alerts_test.yml").read_text()
    used = set(re.findall(r"series: '(\w+)\{", text))
    assert used
    assert used - names(scraped) - sample_names(scraped) == set()
