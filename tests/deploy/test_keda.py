"""The example for KEDA: its expressions name metrics and labels that a gateway has."""

from __future__ import annotations

from typing import Any

import yaml

from gateway.config.structs import DEFAULT_GRACE

from ..components.otel.scrapes import series
from .expressions import metric_names, selectors
from .loaded_gateway import loaded_scrape
from .test_dashboards import ADDED_BY_PROMETHEUS
from .tools import DEPLOY

SCALED, AUTHENTICATION = yaml.safe_load_all((DEPLOY / "keda/scaledobject.yaml").read_text())

NEEDED = {
    "rabbitmq": {"protocol", "queueName", "mode", "value"},
    "prometheus": {"serverAddress", "query", "threshold"},
}
"""What KEDA 2.17 requires in ``metadata``, without what the authentication has."""


def triggers(kind: str) -> list[dict[str, Any]]:
    return [each for each in SCALED["spec"]["triggers"] if each["type"] == kind]


def test_each_trigger_has_what_keda_needs_as_strings() -> None:
    assert {each["type"] for each in SCALED["spec"]["triggers"]} == NEEDED.keys()
    for kind, keys in NEEDED.items():
        for trigger in triggers(kind):
            assert trigger["metadata"].keys() == keys
            assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_authentication_of_the_trigger_exists() -> None:
    for trigger in triggers("rabbitmq"):
        assert trigger["authenticationRef"]["name"] == AUTHENTICATION["metadata"]["name"]
        assert trigger["metadata"]["protocol"] == "http"
    assert [each["parameter"] for each in AUTHENTICATION["spec"]["secretTargetRef"]] == ["host"]


def test_pods_are_not_stopped_sooner_than_they_can_stop() -> None:
    assert SCALED["spec"]["cooldownPeriod"] > DEFAULT_GRACE
    behavior = SCALED["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] > DEFAULT_GRACE


def test_the_metrics_and_labels_of_the_expressions_exist() -> None:
    scraped = loaded_scrape("asyncio")
    for trigger in triggers("prometheus"):
        query = trigger["metadata"]["query"]
        [name] = metric_names(query) - {"sum"}
        found = [labels for labels, _ in series(scraped, name)]
        assert found, name
        [(selected, matchers)] = selectors(query)
        assert selected == name
        wanted = {each.label for each in matchers} - ADDED_BY_PROMETHEUS
        assert wanted <= set().union(*found)
