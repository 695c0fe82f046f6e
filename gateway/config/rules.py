"""What must hold between the keys of an endpoint: paths, parameters, methods, hosts. Pure."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from .findings import Findings
from .proxy import DEFAULT, NAMESPACE

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
RESERVED = ("/__debug", "/__echo", "/__health")
OUTPUT_ENCODINGS = ("json", "json-collection", "yaml", "xml", "negotiate", "string", "no-op")
ENCODINGS = ("json", "safejson", "xml", "rss", "string", "no-op")
DISCOVERIES = ("static", "dns")

_PLACEHOLDER = re.compile(r"\{([^{}/]+)\}")
_WHOLE_SEGMENT = re.compile(r"(?<=/)\{([^{}/]+)\}(?=/|$)")
_FROM_ELSEWHERE = re.compile(r"(JWT\.|amqp\.|resp\d+_)", re.IGNORECASE)
_HTTP_HOST = re.compile(r"(https?://)?[^/:@\s]+(:\d{2,5})?/?$")


def check_path(endpoint: str, path: str, findings: Findings) -> str:
    """The endpoint's path as it is routed."""
    if not endpoint.startswith("/"):
        endpoint = "/" + endpoint
    if any(endpoint == name or endpoint.startswith(name + "/") for name in RESERVED):
        findings.error(path, f'"{endpoint}" is reserved')
    if "*" in endpoint[:-1] or (endpoint.endswith("*") and not endpoint.endswith("/*")):
        findings.error(path, f'"{endpoint}": "*" may only be the last segment')
    if "{jwt." in endpoint.lower():  # a client must not choose what a token says
        findings.error(path, f'"{endpoint}": a parameter of a path cannot be a claim')
    return endpoint


def check_parameters(endpoint: str, url_pattern: str, path: str, findings: Findings) -> None:
    """Every placeholder of a backend must be one of the endpoint's, or come from elsewhere."""
    known = set(_WHOLE_SEGMENT.findall(endpoint))
    for name in dict.fromkeys(_PLACEHOLDER.findall(url_pattern)):
        if name not in known and not _FROM_ELSEWHERE.match(name):
            given = ", ".join(sorted(known)) or "none"
            findings.error(path, f"the endpoint has no parameter {{{name}}}; it has: {given}")


def check_duplicates(
    seen: dict[tuple[str, str], str], method: str, endpoint: str, path: str, findings: Findings
) -> None:
    """Two endpoints that no request could tell apart."""
    shape = (method, _WHOLE_SEGMENT.sub("{}", endpoint))
    if shape in seen:
        findings.error(path, f"{method} {endpoint} is defined at {seen[shape]} already")
    else:
        seen[shape] = path


def check_parameter_names(
    seen: dict[str, tuple[str, str]], endpoint: str, path: str, findings: Findings
) -> None:
    """One position, one name: KrakenD's router takes no second one (it stops at the start)."""
    before = ""
    for segment in endpoint.split("/")[1:]:
        if _WHOLE_SEGMENT.fullmatch("/" + segment, 1):
            name, where = seen.setdefault(before, (segment, path))
            if name != segment:
                findings.error(path, f"{segment} is called {name} at {where}")
            segment = "{}"
        before = f"{before}/{segment}"


def known_method(method: str, path: str, findings: Findings) -> str | None:
    """The method in capitals; None when KrakenD leaves such an endpoint out."""
    if method.upper() not in METHODS:
        findings.warning(path, f'no endpoint can have the method "{method}": left out')
        return None
    return method.upper()


def has_only_shadows(backends: list[dict[str, Any]], path: str, findings: Findings) -> bool:
    """Nobody would answer: KrakenD leaves such an endpoint out."""
    settings = [backend["extra_config"].get(NAMESPACE, DEFAULT) for backend in backends]
    if not backends or not all(each.shadow for each in settings):
        return False
    findings.warning(f"{path}.backend", "every backend is a shadow, nobody answers: left out")
    return True


def known_encoding(name: str, known: tuple[str, ...], path: str, findings: Findings) -> str:
    """The encoding in small letters; an unknown one means "json", as in KrakenD."""
    if name.lower() in known:
        return name.lower()
    findings.warning(
        path, f'unknown encoding "{name}", "json" is used; there are: {", ".join(known)}'
    )
    return "json"


def check_broker(host: str, path: str, findings: Findings) -> None:
    if urlsplit(host).scheme not in ("amqp", "amqps"):
        findings.error(path, 'a broker\'s URL must begin with "amqp://" or "amqps://"')


def check_discovery(backend: dict[str, Any], path: str, findings: Findings) -> None:
    """How hosts are found; whatever is not known means those of the file."""
    sd = backend.get("sd", "static")
    if sd not in DISCOVERIES:
        known = ", ".join(DISCOVERIES)
        findings.warning(f"{path}.sd", f'unknown "{sd}", "static" is used; there are: {known}')
    elif sd == "dns" and len(backend.get("host", ())) > 1:
        findings.warning(f"{path}.host", "only the first name is looked up")


def check_hosts(backend: dict[str, Any], is_broker: bool, path: str, findings: Findings) -> None:
    """Hosts as KrakenD's sanitizer wants them, unless it is switched off."""
    hosts = backend.get("host", ())
    for place, host in enumerate(hosts):
        where = f"{path}.host[{place}]"
        scheme = urlsplit(host).scheme if "://" in host else ""
        if is_broker and scheme not in ("amqp", "amqps"):
            findings.error(where, 'a broker\'s URL must begin with "amqp://" or "amqps://"')
        elif is_broker and not backend.get("disable_host_sanitize"):
            findings.error(where, 'a broker needs "disable_host_sanitize": true')
        elif is_broker:
            continue
        elif not backend.get("disable_host_sanitize"):
            if not _HTTP_HOST.match(host):
                expected = "expected a host such as http://example.com:8080, without a path"
                findings.error(where, expected)
        elif scheme not in ("http", "https", ""):
            findings.warning(where, "not a host that can be asked over HTTP, left out")
    if is_broker and not hosts:
        findings.error(path, "no host: neither here nor at the root")
    elif not hosts:
        findings.warning(path, "no host: neither here nor at the root; every request will fail")
