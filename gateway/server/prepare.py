"""All that can stop a start, before anything is opened: the common part of ``check`` and ``run``.

It does not know what only the machine knows, such as whether a port is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import anyio

from ..app.catalog import CATALOG
from ..app.check import with_check_findings
from ..app.service import try_build
from ..config.findings import ConfigError, Finding
from ..config.load import Loaded, survey
from .settings import ServerName, ServeSettings, serve_settings


class Prepared(NamedTuple):
    loaded: Loaded
    settings: ServeSettings


def prepare(
    path: str, environ: Mapping[str, str] | None = None, server: ServerName = "auto"
) -> Prepared:
    """Load a file, check it, read its certificates, build everything once.

    Raises :class:`ConfigError` with all findings when one of them is an error.
    """
    loaded = with_check_findings(survey(path, CATALOG, environ), CATALOG)
    findings = [*loaded.all_findings]
    try:
        settings = serve_settings(loaded.service, server)
    except ConfigError as error:
        findings += map(loaded.places.named, _new_findings(error.findings, findings))
    if not _has_errors(findings):
        try:
            anyio.run(try_build, loaded)
        except ConfigError as error:
            findings += error.findings
    if _has_errors(findings):
        raise ConfigError(findings)
    return Prepared(loaded, settings)


def _has_errors(findings: list[Finding]) -> bool:
    return any(each.severity == "error" for each in findings)


def _new_findings(found: tuple[Finding, ...], known: list[Finding]) -> list[Finding]:
    """Without the findings that are a consequence of a known error at the same or a higher path."""
    paths = tuple(each.path for each in known if each.severity == "error")
    return [each for each in found if not any(path.startswith(each.path) for path in paths)]
