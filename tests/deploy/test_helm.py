"""The chart: values with the names of KrakenD's chart, and manifests that Kubernetes accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from gateway.cli import _parser, main
from gateway.config.structs import DEFAULT_GRACE
from gateway.core.version import VERSION
from gateway.server.workers import KILL_TIMEOUT

from .tools import DEPLOY, attempt, needs, run

CHART = DEPLOY / "helm/hutch-gateway"

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())

SCHEMA = json.loads((CHART / "values.schema.json").read_text())

KUBERNETES = "1.30.0"

OURS = {"workers", "broker", "httpRoute", "terminationGracePeriodSeconds"}

KRAKENDS = {
    "replicaCount": (),
    "image": ("registry", "repository", "tag", "pullPolicy"),
    "deploymentType": (),
    "strategy": (),
    "krakend": (
        "allInOneImage",
        "env",
        "envFromSecret",
        "config",
        "configFileSource",
        "partialsDirSource",
        "settingsDirSource",
        "templatesDirSource",
        "partials",
        "settings",
        "templates",
        "extraConfig",
    ),
    "imagePullSecrets": (),
    "nameOverride": (),
    "fullnameOverride": (),
    "serviceAccount": ("create", "annotations", "name"),
    "podAnnotations": (),
    "deploymentAnnotations": (),
    "podLabels": (),
    "podSecurityContext": (),
    "securityContext": (),
    "service": ("externalTrafficPolicy", "type", "port", "targetPort", "annotations", "metrics"),
    "ingress": ("enabled", "className", "annotations", "hosts", "tls"),
    "lifecycle": (),
    "resources": (),
    "nodeSelector": (),
    "tolerations": (),
    "affinity": (),
    "topologySpreadConstraints": (),
    "extraVolumeMounts": (),
    "extraVolumes": (),
    "initContainers": (),
    "livenessProbe": (),
    "readinessProbe": (),
    "podDisruptionBudget": (
        "enabled",
        "minAvailable",
        "maxUnavailable",
        "unhealthyPodEvictionPolicy",
    ),
    "serviceMonitor": ("enabled", "annotations", "interval", "scrapeTimeout", "targetPort"),
    "networkPolicies": ("enabled", "policies"),
    "autoscaling": (
        "enabled",
        "annotations",
        "minReplicas",
        "maxReplicas",
        "targetCPUUtilizationPercentage",
        "targetMemoryUtilizationPercentage",
        "behavior",
    ),
    "keda": (
        "enabled",
        "minReplicas",
        "maxReplicas",
        "pollingInterval",
        "cooldownPeriod",
        "restoreToOriginalReplicaCount",
        "scaledObject",
        "triggers",
        "behavior",
    ),
}
"""The values of the chart equinixmetal-helm/krakend, version 0.1.35."""

SHOP = {
    "endpoint": "/orders",
    "backend": [
        {
            "host": ["amqp://shop:${RABBITMQ_PASSWORD}@rabbitmq:5672"],
            "disable_host_sanitize": True,
            "extra_config": {"backend/amqp/consumer": {"name": "orders", "exchange": "shop"}},
        }
    ],
}

FULL = {
    "image": {"registry": "registry.example", "tag": "7"},
    "imagePullSecrets": [{"name": "pull"}],
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
    "workers": 2,
    "broker": {"existingSecret": "rabbitmq"},
    "krakend": {
        "env": [{"name": "A", "value": "1"}],
        "envFromSecret": "more",
        "partials": {"endpoints.tmpl": json.dumps([SHOP], indent=2)},
    },
    "serviceAccount": {"annotations": {"a": "b"}},
    "deploymentAnnotations": {"a": "b"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"tier": "edge"},
    "service": {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "annotations": {"release": "{{ .Release.Name }}"},
        "metrics": {"enabled": True},
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"a": "b"},
        "tls": [{"secretName": "tls", "hosts": ["shop.example"]}],
    },
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "edge"}],
        "hostnames": ["shop.example"],
    },
    "resources": {"requests": {"cpu": "500m", "memory": "128Mi"}},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "extraVolumes": [{"name": "hooks", "configMap": {"name": "hooks"}}],
    "extraVolumeMounts": [{"name": "hooks", "mountPath": "/etc/krakend"}],
    "initContainers": [{"name": "init", "image": "{{ .Release.Name }}"}],
    "podDisruptionBudget": {"enabled": True, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    "serviceMonitor": {"enabled": True, "annotations": {"a": "b"}},
    "networkPolicies": {
        "enabled": True,
        "policies": [
            {"name": "in", "namespace": "shop", "type": "ingress"},
            {"name": "out", "namespace": "data", "type": "egress"},
        ],
    },
    "autoscaling": {"enabled": True, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 9}}},
}
"""Each template with all that it can have."""

KEDA = {
    "enabled": True,
    "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "50"}}],
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    "fallback": {"failureThreshold": 3, "replicas": 2},
}

WITHOUT_SCHEMA = {"ServiceMonitor", "HTTPRoute", "ScaledObject", "Rollout"}
"""Kinds that Kubernetes does not have by itself."""

needs_helm = needs("helm", "https://helm.sh", can_be_missing=True)


def render(folder: Path, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The manifests, by kind and name without that of the release."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    flags = ["--kube-version", KUBERNETES, "--namespace", "edge"]
    text = run("helm", "template", "shop", CHART, *flags, "-f", path)
    documents = [each for each in yaml.safe_load_all(text) if each]
    found = {
        f"{each['kind']} {each['metadata']['name'].removeprefix('shop-hutch-gateway')}": each
        for each in documents
    }
    assert len(found) == len(documents)
    return found


def test_the_chart_has_the_values_of_krakends() -> None:
    assert VALUES.keys() == KRAKENDS.keys() | OURS
    for name, keys in KRAKENDS.items():
        assert not keys or {*keys} <= VALUES[name].keys(), name


def test_the_schema_has_each_value_and_accepts_the_defaults() -> None:
    validator = jsonschema_rs.validator_for(SCHEMA)
    assert [each.message for each in validator.iter_errors(VALUES)] == []
    assert SCHEMA["properties"].keys() == VALUES.keys() | {"global"}


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 3},
        {"image": {"name": "x"}},
        {"service": {"targetPort": "8080"}},
        {"deploymentType": "daemonset"},
        {"krakend": {"env": [{"value": "x"}]}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_wrong_values(values: dict[str, Any]) -> None:
    assert not jsonschema_rs.validator_for(SCHEMA).is_valid(values)


def test_the_versions_are_those_of_the_gateway() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION


def test_a_pod_has_the_time_for_a_stop() -> None:
    sleep = int(VALUES["lifecycle"]["preStop"]["exec"]["command"][1])
    assert VALUES["terminationGracePeriodSeconds"] > sleep + DEFAULT_GRACE + KILL_TIMEOUT


@needs_helm
def test_helm_finds_nothing_wrong() -> None:
    assert "0 chart(s) failed" in run("helm", "lint", "--strict", CHART)


def variants() -> Iterator[tuple[str, dict[str, Any], set[str]]]:
    always = {"ConfigMap -config", "ConfigMap -partials", "ConfigMap -settings"}
    always |= {"ConfigMap -templates", "Service ", "ServiceAccount "}
    yield "default", {}, always | {"Deployment "}
    more = {"Ingress ", "HTTPRoute ", "HorizontalPodAutoscaler ", "PodDisruptionBudget "}
    more |= {"ServiceMonitor ", "NetworkPolicy in", "NetworkPolicy out"}
    yield "full", FULL, always | {"Deployment "} | more
    yield "keda", {"keda": KEDA}, always | {"Deployment ", "ScaledObject "}
    image = {"krakend": {"allInOneImage": True}, "serviceAccount": {"create": False}}
    yield "all in one", image, {"Service ", "Deployment "}
    yield "rollout", {"deploymentType": "rollout"}, always | {"Rollout "}


@needs_helm
@pytest.mark.parametrize(
    ("values", "expected"),
    [pytest.param(values, expected, id=name) for name, values, expected in variants()],
)
def test_kubernetes_accepts_the_manifests(
    tmp_path: Path, values: dict[str, Any], expected: set[str]
) -> None:
    manifests = render(tmp_path, values)
    assert manifests.keys() == expected
    for each in manifests.values():
        assert each["metadata"]["namespace"] == "edge"
        if each["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(each, KUBERNETES.removesuffix(".0"), strict=True)


@needs_helm
def test_a_wrong_manifest_is_noticed(tmp_path: Path) -> None:
    deployment = render(tmp_path, {"nodeSelector": {"a": "b"}})["Deployment "]
    deployment["spec"]["template"]["spec"]["nodeSelektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES.removesuffix(".0"), strict=True)


@needs_helm
def test_the_selectors_find_the_pods(tmp_path: Path) -> None:
    manifests = render(tmp_path, FULL)
    labels = manifests["Deployment "]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        manifests["Service "]["spec"]["selector"],
        manifests["Deployment "]["spec"]["selector"]["matchLabels"],
        manifests["PodDisruptionBudget "]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy in"]["spec"]["podSelector"]["matchLabels"],
    ]
    for each in selectors:
        assert each
        assert each.items() <= labels
    monitor = manifests["ServiceMonitor "]["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= manifests["Service "]["metadata"]["labels"].items()


@needs_helm
@pytest.mark.parametrize("values", [{}, FULL], ids=["default", "full"])
def test_the_gateway_accepts_its_command_and_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    """The mounted files, in the folders that the variables name."""
    manifests = render(tmp_path, values)
    [container] = manifests["Deployment "]["spec"]["template"]["spec"]["containers"]
    options = _parser().parse_args(container["args"])
    assert options.command.__name__ == "run_command"
    for mount in container["volumeMounts"]:
        config = manifests.get(f"ConfigMap -{mount['name']}", {})
        folder = tmp_path / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in config.get("data", {}).items():
            (folder / name).write_text(text)
    monkeypatch.setenv("RABBITMQ_PASSWORD", "x")
    for each in container["env"]:
        if each["name"].startswith("FC_"):
            value = each["value"]
            monkeypatch.setenv(
                each["name"], str(tmp_path / value[1:]) if value[0] == "/" else value
            )
    assert main(["check", "--lint", "-c", str(tmp_path / options.config[1:])]) == 0


@needs_helm
def test_a_changed_configuration_makes_new_pods(tmp_path: Path) -> None:
    def checksum(config: str) -> str:
        template = render(tmp_path, {"krakend": {"config": config}})["Deployment "]["spec"]
        return str(template["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum('{"version": 3}') != checksum('{"version": 3, "port": 1}')


@needs_helm
@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"autoscaling": {"enabled": True}, "keda": KEDA}, "exclude each other"),
        ({"keda": {"enabled": True}}, "keda.triggers"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
        ({"krakend": {"configFileSource": "no.json"}}, "the chart has no file no.json"),
    ],
    ids=str,
)
def test_helm_says_what_is_wrong_with_values(
    tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    done = attempt("helm", "template", "shop", CHART, "--kube-version", KUBERNETES, "-f", path)
    assert done.returncode == 1
    assert problem in done.stderr
