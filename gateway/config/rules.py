"""Rules for the values of endpoints and backends: paths, parameters, methods, hosts, TLS. Pure."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence

from .findings import Findings
from .paths import PLACEHOLDER, literal_braces, parameters, shape, split_path
from .proxy import DEFAULT, NAMESPACE
from .struct_walker import Fields, describe
from .suggest import did_you_mean

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
DISCOVERIES = ("static", "dns")

_INVALID = re.compile(r"\*.|/__(debug|echo|health)(/.*)?$")
_FROM_ELSEWHERE = re.compile(r"JWT\.|amqp\.|resp\d+_.")
_HTTP_HOST = re.compile(r"(https?://)?([a-zA-Z0-9._\-]+)(:[0-9]{2,6})?/?")


def check_path(endpoint: str, path: str, findings: Findings) -> str:
    """The endpoint's path as it is routed. (lura, config.go: CleanPath, invalidPattern)"""
    endpoint = "/" + endpoint.removeprefix("/")
    found = _INVALID.search(endpoint)
    if found and not found[0].startswith("*"):
        findings.error(path, f'"{endpoint}" is reserved')
    elif found or (endpoint.endswith("*") and not endpoint.endswith("/*")):
        findings.error(path, f'"{endpoint}": "*" may only be the last segment')
    if "{jwt." in endpoint.lower():  # a client must not choose a value of a token
        findings.error(path, f'"{endpoint}": a path parameter cannot be a JWT claim')
    return endpoint


def check_placeholders(endpoint: str, is_rest: bool, path: str, findings: Findings) -> None:
    """Placeholders that are plain text, or that reach further than their closing brace."""
    rule = "has a name of letters, digits, _ - . and :"
    if is_rest:
        rule = "begins its segment, and has a name of letters, digits, _ and -"
    for braces in literal_braces(endpoint, is_rest):
        findings.warning(path, f"{braces} is not a parameter but plain text: a parameter {rule}")
    for name in sorted(parameters(endpoint, is_rest)):
        _, placeholder, rest = endpoint.partition(f"{{{name}}}")
        if suffix := rest.partition("/")[0]:
            text = f"the whole segment {placeholder}{suffix} is one parameter, so {placeholder} is"
            findings.warning(path, f"{text} never set")


def undefined(known: set[str], url_pattern: str) -> Iterator[str]:
    """A message for each placeholder that never gets a value."""
    for name in dict.fromkeys(PLACEHOLDER.findall(url_pattern)):
        if name not in known and not _FROM_ELSEWHERE.match(name):
            given = ", ".join(sorted(known)) or "none"
            yield f"the endpoint has no parameter {{{name}}}; it has: {given}"


class Paths:
    """The paths of all endpoints, in one tree for each method, as in KrakenD's router."""

    def __init__(self) -> None:
        self._shapes: dict[Hashable, str] = {}
        self._names: dict[Hashable, tuple[str, str]] = {}

    def check(
        self, method: str, endpoint: str, is_rest: bool, path: str, findings: Findings
    ) -> None:
        """Finds two endpoints with the same requests, and two names of one parameter. KrakenD does
        not start with either."""
        key = (method, shape(endpoint, is_rest))
        if key in self._shapes:
            where = self._shapes[key]
            findings.error(path, f"{method} {endpoint} is already defined at {where}")
            return
        self._shapes[key] = path
        before: Hashable = method
        for segment in split_path(endpoint, is_rest):
            before = (before, segment.text, bool(segment.name))
            if segment.name:
                name, where = self._names.setdefault(before, (segment.name, path))
                if name != segment.name:
                    text = (
                        f"{{{segment.name}}} has the name {{{name}}} at {where}, also for {method}"
                    )
                    findings.error(path, text)


def wrong_version(version: object) -> str:
    """``version``: the value in the file, which is not 3."""
    if version is None:
        return '"version" is missing: expected 3'
    found = f"expected 3, found {describe(version)}"
    if version in (1, 2):
        return f"{found}: convert the file with github.com/krakend/krakend-config-migrator"
    return found


def known_method(method: str, path: str, findings: Findings) -> str | None:
    """The method in upper case. None when it is unknown: KrakenD ignores such an endpoint."""
    if method.upper() not in METHODS:
        meant = did_you_mean(method, METHODS)
        findings.warning(path, f'unknown method "{method}": the endpoint is left out{meant}')
        return None
    return method.upper()


def has_only_shadows(backends: list[Fields], path: str, findings: Findings) -> bool:
    """Whether no backend can respond: KrakenD ignores such an endpoint."""
    settings = [backend["extra_config"].get(NAMESPACE, DEFAULT) for backend in backends]
    if not backends or not all(each.shadow for each in settings):
        return False
    text = "every backend is a shadow, so the endpoint can never respond: it is left out"
    findings.warning(f"{path}.backend", text)
    return True


def known_encoding(name: str, known: Sequence[str], path: str, findings: Findings) -> str:
    """The encoding in lower case. An unknown one means "json", as in KrakenD."""
    if not name:
        return "json"
    if name.lower() in known:
        return name.lower()
    findings.warning(
        path, f'unknown encoding "{name}", "json" is used; there are: {", ".join(known)}'
    )
    return "json"


def output_encoding(
    name: str,
    encodings: Sequence[str],
    backends: Sequence[Fields],
    path: str,
    findings: Findings,
) -> str:
    """The output encoding; its letter case counts. As in KrakenD, an unknown one means the encoding
    of the only backend if that is an output encoding, else "json"."""
    if name in encodings:
        return name
    only = backends[0].get("encoding") if len(backends) == 1 else None
    used = only if isinstance(only, str) and only in encodings else "json"
    known = ", ".join(encodings)
    findings.warning(path, f'unknown encoding "{name}", "{used}" is used; there are: {known}')
    return used


def check_broker(host: str, path: str, findings: Findings) -> None:
    if _scheme(host) not in ("amqp", "amqps"):
        findings.error(path, 'a broker\'s URL must begin with "amqp://" or "amqps://"')


def check_discovery(backend: Fields, path: str, findings: Findings) -> None:
    """Service discovery. An unknown kind means the hosts of the file."""
    sd = backend.get("sd", "static")
    if sd not in DISCOVERIES:
        known = ", ".join(DISCOVERIES)
        findings.warning(f"{path}.sd", f'unknown "{sd}", "static" is used; there are: {known}')
    elif sd == "dns" and len(backend.get("host", ())) > 1:
        findings.warning(f"{path}.host", "only the first name is looked up")


def sanitized(host: str) -> str | None:
    """A host as KrakenD's sanitizer returns it, None when it refuses it. (lura, config/uri.go)"""
    found = list(_HTTP_HOST.finditer(host))
    if len(found) != 1:
        return None
    scheme, name, port = found[0].groups("")
    return f"{scheme or 'http://'}{name}{port}"


def checked_hosts(backend: Fields, is_broker: bool, path: str, findings: Findings) -> list[str]:
    """The hosts as KrakenD's sanitizer returns them, or as they are when it is disabled."""
    hosts = list(backend.get("host", ()))
    is_unchecked = backend.get("disable_host_sanitize")
    for place, host in enumerate(hosts):
        where = f"{path}.host[{place}]"
        scheme = _scheme(host)
        if findings.has_error_at(where):
            continue
        if is_broker and scheme not in ("amqp", "amqps"):
            findings.error(where, 'a broker\'s URL must begin with "amqp://" or "amqps://"')
        elif is_broker and not is_unchecked:
            findings.error(where, 'a broker needs "disable_host_sanitize": true')
        elif is_broker:
            continue
        elif not is_unchecked:
            cleaned = sanitized(host)
            if cleaned is None:
                findings.error(where, _why_not_sanitized(host))
            elif backend.get("sd") != "dns":
                hosts[place] = cleaned
        elif scheme not in ("http", "https", ""):
            findings.warning(where, "not an HTTP host: left out")
    if is_broker and not hosts:
        findings.error(path, "no host: neither here nor at the root")
    elif not hosts:
        findings.warning(path, "no host: neither here nor at the root; every request will fail")
    return hosts


def _why_not_sanitized(host: str) -> str:
    """``host``: one that KrakenD's sanitizer refuses."""
    free = '"disable_host_sanitize": true allows any URL'
    if re.search(r"[\w.\-]:[0-9]/*$", host):
        return f"KrakenD's sanitizer refuses a port of one digit; {free}"
    if "@" in host:
        return f"KrakenD's sanitizer refuses a login; {free}"
    return f"expected a host such as http://example.com:8080, without a path; {free}"


def _scheme(host: str) -> str:
    return host.partition("://")[0].lower() if "://" in host else ""


def check_tls(tls: Fields | None, path: str, findings: Findings) -> None:
    """Each certificate needs its key; without a certificate no client could connect."""
    if tls is None or tls.get("disabled"):
        return
    at_root = tls.get("public_key") or tls.get("private_key")
    pairs = [(f"{path}.keys[{place}]", pair) for place, pair in enumerate(tls.get("keys", ()))]
    for where, pair in [*pairs, *([(path, tls)] if at_root else [])]:
        for key in ("public_key", "private_key"):
            if not pair.get(key):
                findings.error(f"{where}.{key}", "expected the path of a PEM file")
    if not pairs and not at_root:
        findings.error(f"{path}.keys", "expected at least one certificate with its key")
