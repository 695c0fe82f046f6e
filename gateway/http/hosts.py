"""What ``check`` says about the hosts of HTTP backends. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.findings import Finding
from .targets import PORTS, parse_host


def host_findings(host: str, path: str) -> Iterator[Finding]:
    scheme, has_scheme, _ = host.partition("://")
    if has_scheme and scheme not in PORTS:
        return  # the loader reports it
    try:
        parse_host(host)
    except ValueError:
        text = "not the URL of a host with a port from 0 to 65535: the host is left out"
        yield Finding(path, "warning", text)
