"""From a document to a :class:`Service`: defaults, inheritance, rules, and every finding."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import get_type_hints

import msgspec
from msgspec import Struct

from . import rules
from .extra_config import ExtraConfig, Row, Rows
from .findings import ConfigError, Finding, Findings, Places, key_path
from .json_types import JsonObject
from .paths import parameters
from .read import file_of, read_document
from .secrets import substitute, with_secrets_of_root
from .struct_walker import Fields, StructWalker
from .structs import Service
from .unknown_keys import build_explain
from .unsupported import IGNORE, INSTEAD, LEGACY, plugin_names

ENVIRONMENT_PREFIX = "KRAKEND_"


class Loaded(Struct, frozen=True):
    """A configuration, what the loader found, and where its parts are in the file.

    ``check_findings``: those of :func:`gateway.app.check.check`.
    """

    service: Service
    findings: tuple[Finding, ...]
    places: Places = Places()
    check_findings: tuple[Finding, ...] = ()

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        return (*self.findings, *self.check_findings)


def load(
    source: str | os.PathLike[str] | bytes | Mapping[str, object],
    catalog: Rows,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Load a configuration: a path, the content of one, or a decoded document.

    ``environ``: the environment variables, by default those of the process. Raises
    :class:`ConfigError` with all findings when one of them is an error.
    """
    loaded = survey(source, catalog, environ)
    if any(each.severity == "error" for each in loaded.findings):
        raise ConfigError(loaded.findings)
    return loaded


def survey(
    source: str | os.PathLike[str] | bytes | Mapping[str, object],
    catalog: Rows,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """As :func:`load`, but errors are findings only: the service is then without faulty settings.

    Raises :class:`ConfigError` for a document that cannot be read at all.
    """
    environ = os.environ if environ is None else environ
    file = file_of(source)
    findings = Findings()
    loader = _ConfigLoader(catalog, environ, findings)
    try:
        document = _overridden(read_document(source, environ, findings), environ, findings)
        service = _converted(loader.service(document), findings)
    except RecursionError as error:
        raise ConfigError([Finding("$", "error", "nested too deeply", file=file)]) from error
    except ConfigError as error:
        raise ConfigError(map(Places(file).named, error.findings)) from error
    places = loader.places(file)
    return Loaded(service, tuple(map(places.named, findings)), places)


def _converted(root: Fields, findings: Findings) -> Service:
    try:
        return msgspec.convert(root, Service)
    except msgspec.ValidationError as error:
        if not findings.has_errors:
            findings.error("$", str(error))
        return Service()


def _overridden(document: JsonObject, environ: Mapping[str, str], findings: Findings) -> JsonObject:
    """The document with ``KRAKEND_PORT=8081`` as its ``port``. For a list the value is the only
    item."""
    hints = get_type_hints(Service)
    simple = (str, int, float, bool, tuple[str, ...])
    document = dict(document)
    for name, value in environ.items():
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name.startswith(ENVIRONMENT_PREFIX) and hints.get(key) in simple:
            probe = Findings()
            converted = StructWalker(probe, is_core=True).struct({key: value}, Service, "$") or {}
            if probe.has_errors:
                findings.error(f"${name}", f'not a value for "{key}"')
            else:
                is_duration = isinstance(converted.get(key), float)
                document[key] = value if is_duration else converted.get(key)
    return document


class _ConfigLoader:
    """One run over one document; ``findings`` collects."""

    def __init__(self, catalog: Rows, environ: Mapping[str, str], findings: Findings) -> None:
        self._findings = findings
        self._catalog = catalog
        explain = build_explain({*LEGACY, *INSTEAD, *_names(self._catalog)})
        self._walker = StructWalker(findings, is_core=True, explain=explain)
        self._is_rest = True
        self._environ = environ
        self._backends = _names(row for row in self._catalog if row.knows("source"))
        self._sources = _names(row for row in self._catalog if row.agent is not None)
        self._paths = rules.Paths()
        self._names: dict[str, str] = {}
        self._kept: dict[str, list[int]] = {"endpoints": [], "async_agent": []}

    def places(self, file: str) -> Places:
        """Where the endpoints and agents of the service are in the file."""
        kept = self._kept
        return Places(file, tuple(kept["endpoints"]), tuple(kept["async_agent"]), self._names)

    def service(self, document: JsonObject) -> Fields:
        findings = self._findings
        root = self._walker.struct(document, Service, "$") or {}
        if root.get("version") != 3 and not findings.has_error_at("$.version"):
            findings.error("$.version", rules.wrong_version(document.get("version")))
        self._check_address(root)
        rules.check_tls(root.get("tls"), "$.tls", findings)
        self._extra = ExtraConfig(self._catalog, findings, _ignored_plugins(root))
        self._is_rest = not root.get("disable_rest")
        root["host"] = self._root_hosts(root.get("host", ()))
        root["endpoints"] = self._parts("endpoints", root, self._endpoint)
        root["async_agent"] = self._parts("async_agent", root, self._agent)
        extra = with_secrets_of_root(root.get("extra_config", {}), self._environ, findings)
        root["extra_config"] = self._extra.decode(extra, "service", "$.extra_config")
        return root

    def _parts(
        self,
        key: str,
        root: Fields,
        build: Callable[[Fields, Fields, int], Fields | None],
    ) -> list[Fields]:
        """The endpoints or the agents, without those that are left out."""
        parts = []
        for position, raw in _objects(root.get(key, ())):
            if (part := build(raw, root, position)) is not None:
                self._kept[key].append(position)
                parts.append(part)
        return parts

    def _root_hosts(self, hosts: Sequence[str]) -> list[str]:
        """The hosts of the root. URLs of brokers, which the sanitizer refuses, stay unchanged."""
        filled = self._hosts(hosts, "$.host")
        return [rules.sanitized(host) or host for host in filled]

    def _check_address(self, root: Fields) -> None:
        if not 0 <= root.get("port", 8080) <= 65535:
            self._findings.error("$.port", f"expected 0 to 65535, found {root['port']}")
        try:
            if root.get("listen_ip"):
                ipaddress.ip_address(root["listen_ip"])
        except ValueError:
            self._findings.error(
                "$.listen_ip", f'expected an IP address, found "{root["listen_ip"]}"'
            )

    def _agent(self, raw: Fields, root: Fields, position: int) -> Fields | None:
        """None for an agent without a source of messages: KrakenD ignores it."""
        path = f"$.async_agent[{position}]"
        agent = {"name": f"AsyncAgent-{position + 1:02}", **raw}
        self._names[path] = f"agent {agent['name']}"
        consumer = {"timeout": root.get("timeout", 2.0), **raw.get("consumer", {})}
        agent["consumer"] = {**consumer, "workers": max(1, consumer.get("workers", 1))}
        extra = self._with_secrets(raw.get("extra_config", {}), f"{path}.extra_config")
        sources = [name for name in extra if name in self._sources]
        if not sources:
            known = ", ".join(sorted(set(self._sources.values())))
            text = f"no source of messages: the agent is left out; the sources are: {known}"
            self._findings.warning(f"{path}.extra_config", text)
        self._check_only_one(sources, self._sources, f"{path}.extra_config")
        if not raw.get("backend"):
            self._findings.error(f"{path}.backend", "expected at least one backend")
        settings = extra[sources[0]] if sources else None
        method = settings.get("method") if isinstance(settings, dict) else None
        pipe = {"method": str(method or "GET"), "output_encoding": "json"}
        agent["backend"] = [
            self._backend(backend, pipe, root, f"{path}.backend[{position}]")
            for position, backend in _objects(raw.get("backend", ()))
        ]
        agent["extra_config"] = self._extra.decode(extra, "agent", f"{path}.extra_config")
        return agent if sources else None

    def _check_only_one(self, names: Iterable[str], known: Mapping[str, str], path: str) -> None:
        meant = sorted({known[name] for name in names})
        if len(meant) > 1:
            self._findings.error(path, f"only one of {', '.join(meant)} is possible")

    def _with_secrets(self, extra: Fields, path: str) -> Fields:
        """The settings of an agent with the placeholders in the URL of its broker replaced."""
        filled = dict(extra)
        for name in self._sources:
            settings = extra.get(name)
            if isinstance(settings, dict) and isinstance(settings.get("host"), str):
                where = f"{key_path(path, name)}.host"
                host = substitute(settings["host"], self._environ, where, self._findings)
                filled[name] = {**settings, "host": host}
                rules.check_broker(host, where, self._findings)
        return filled

    def _endpoint(self, raw: Fields, root: Fields, position: int) -> Fields | None:
        findings, path = self._findings, f"$.endpoints[{position}]"
        endpoint = {
            "timeout": root.get("timeout", 2.0),
            "cache_ttl": root.get("cache_ttl", 0.0),
            "output_encoding": root.get("output_encoding", "json"),
            "endpoint": "/",
            "method": "GET",
            **raw,
        }
        self._names[path] = f"{endpoint['method']} {endpoint['endpoint']}"
        if not raw.get("endpoint"):
            findings.warning(path, 'no "endpoint": its path is "/"')
        method = rules.known_method(endpoint["method"], f"{path}.method", findings)
        if method is None:
            return None
        endpoint["method"] = method
        where = f"{path}.endpoint"
        endpoint["endpoint"] = rules.check_path(endpoint["endpoint"], where, findings)
        rules.check_placeholders(endpoint["endpoint"], self._is_rest, where, findings)
        self._paths.check(method, endpoint["endpoint"], self._is_rest, where, findings)
        endpoint["output_encoding"] = rules.output_encoding(
            endpoint["output_encoding"],
            self._catalog.output_encodings,
            _kept(endpoint.get("backend", ())),
            f"{path}.output_encoding",
            findings,
        )
        self._check_backends(endpoint, path)
        endpoint["backend"] = [
            self._backend(backend, endpoint, root, f"{path}.backend[{position}]")
            for position, backend in _objects(endpoint.get("backend", ()))
        ]
        extra = endpoint.get("extra_config", {})
        endpoint["extra_config"] = self._extra.decode(extra, "endpoint", f"{path}.extra_config")
        return None if rules.has_only_shadows(endpoint["backend"], path, findings) else endpoint

    def _check_backends(self, endpoint: Fields, path: str) -> None:
        backends = endpoint.get("backend", ())
        if not backends:
            self._findings.error(f"{path}.backend", "expected at least one backend")
        if endpoint["output_encoding"] == "no-op" and len(backends) > 1:
            self._findings.error(
                f"{path}.output_encoding",
                f'"no-op" needs exactly one backend, found {len(backends)}',
            )
        if endpoint["timeout"] <= 0:
            self._findings.warning(f"{path}.timeout", "every request will fail at once")

    def _backend(self, raw: Fields, endpoint: Fields, root: Fields, path: str) -> Fields:
        findings = self._findings
        backend = {"method": endpoint["method"], "encoding": "json", **raw}
        extra = backend.get("extra_config", {})
        sources = [name for name in extra if name in self._backends]
        self._check_only_one(sources, self._backends, f"{path}.extra_config")
        backend["host"] = self._hosts(backend.get("host", ()), f"{path}.host") or root["host"]
        rules.check_discovery(backend, path, findings)
        backend["host"] = rules.checked_hosts(backend, bool(sources), path, findings)
        backend["encoding"] = rules.known_encoding(
            backend["encoding"], self._catalog.encodings, f"{path}.encoding", findings
        )
        self._check_parameters(backend.get("url_pattern", ""), endpoint.get("endpoint"), path)
        backend["extra_config"] = self._extra.decode(extra, "backend", f"{path}.extra_config")
        return backend

    def _check_parameters(self, url_pattern: str, endpoint: str | None, path: str) -> None:
        """Every placeholder must be one of the endpoint. KrakenD does not check those of agents."""
        report = self._findings.warning if endpoint is None else self._findings.error
        for text in rules.undefined(parameters(endpoint or "", self._is_rest), url_pattern):
            report(f"{path}.url_pattern", text)

    def _hosts(self, hosts: Sequence[str], path: str) -> list[str]:
        return [
            substitute(host, self._environ, f"{path}[{position}]", self._findings)
            for position, host in enumerate(hosts)
        ]


def _ignored_plugins(root: Fields) -> tuple[str, ...]:
    """The plugins in ``ignore_plugins`` of ``gateway`` at the root."""
    gateway = root.get("extra_config", {}).get("gateway")
    names = gateway.get(IGNORE) if isinstance(gateway, Mapping) else None
    return plugin_names({"name": names})


def _names(rows: Iterable[Row]) -> dict[str, str]:
    """Every name of these rows, and the current name for it."""
    return {name: row.namespace for row in rows for name in (row.namespace, *row.aliases)}


def _objects(items: Sequence[Fields | None]) -> Iterator[tuple[int, Fields]]:
    """The objects with their positions. Items that are not objects are findings already."""
    return ((position, item) for position, item in enumerate(items) if item is not None)


def _kept(items: Iterable[Fields | None]) -> list[Fields]:
    return [item for item in items if item is not None]
