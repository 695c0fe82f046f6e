"""The keys of one algorithm, from all sources of a validator."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import Event

from ...telemetry.logs import get_logger
from .jose import JsonWebToken, Key
from .key_source import KeySource
from .keys import Keys

log = get_logger("gateway.auth")


class Keyring:
    """A key id is searched in each source, because several sources may use the same id.

    ``name``: of the endpoint, for the log.
    """

    def __init__(self, sources: Sequence[KeySource], alg: str, strategy: str, name: str) -> None:
        self._sources = tuple(sources)
        self._alg = alg
        self._strategy = strategy
        self._name = name
        self._load()

    def reload(self) -> bool:
        """Take the current keys of the sources; False: nothing has changed."""
        if self._versions == [source.version for source in self._sources]:
            return False
        self._load()
        return True

    def find(self, token: JsonWebToken) -> Sequence[Key]:
        """The keys that the token names."""
        found = [keys.find(token) for keys in self._keys]
        return [key for key in found if key is not None]

    def request_refresh(self) -> Sequence[Event]:
        """Request the keys of all sources again. The events to wait for; each may bring the key."""
        events = [source.request_refresh() for source in self._sources]
        return [event for event in events if event is not None]

    def _load(self) -> None:
        self._versions = [source.version for source in self._sources]
        self._keys = [Keys(each.jwks, self._alg, self._strategy) for each in self._sources]
        for keys in self._keys:
            for problem in (*keys.problems, *keys.private):
                log.warning("%s: %s", self._name, problem)
