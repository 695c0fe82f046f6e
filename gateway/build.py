"""From the configuration of an endpoint to the pipe behind it.

An agent's pipe is built from the same: its backends, its timeout and its ``extra_config`` as an
endpoint that has no route.
"""

from __future__ import annotations

from .assembly import Assembly
from .config.structs import Backend, Endpoint
from .errors import GatewayError
from .pipe import MERGE_SHARE, parallel, within
from .proxy import Branch


def build_pipe(endpoint: Endpoint, assembly: Assembly) -> Branch:
    """All branches of an endpoint, under its deadline, in the stages of its ``extra_config``."""
    pipe = _join(
        [build_branch(each, endpoint, assembly) for each in endpoint.backend], endpoint, assembly
    )
    for row in assembly.catalog:
        settings = endpoint.extra_config.get(row.namespace)
        if settings is not None and row.endpoint_stage is not None:
            pipe = row.endpoint_stage(settings, endpoint, assembly)(pipe)
    return pipe


def _join(branches: list[Branch], endpoint: Endpoint, assembly: Assembly) -> Branch:
    signal = assembly.side.signal
    if len(branches) == 1:
        return within(branches[0], endpoint.timeout, signal)
    return parallel(branches, endpoint.timeout * MERGE_SHARE, signal)


def build_branch(backend: Backend, endpoint: Endpoint, assembly: Assembly) -> Branch:
    """One backend, in the stages of its ``extra_config``."""
    branch = _build_source(backend, endpoint, assembly)
    for row in assembly.catalog:
        settings = backend.extra_config.get(row.namespace)
        if settings is not None and row.backend_stage is not None:
            branch = row.backend_stage(settings, backend, endpoint, assembly)(branch)
    return branch


def _build_source(backend: Backend, endpoint: Endpoint, assembly: Assembly) -> Branch:
    """What answers: the namespace that says so, or the default."""
    sources = [row for row in assembly.catalog if row.backend is not None]
    sources.sort(key=lambda row: row.is_default)
    for row in sources:
        settings = backend.extra_config.get(row.namespace)
        if row.backend is not None and (row.is_default or settings is not None):
            return row.backend(settings or row.settings(), backend, endpoint, assembly)
    raise GatewayError(f"{endpoint.endpoint}: no backend of this kind is implemented")
