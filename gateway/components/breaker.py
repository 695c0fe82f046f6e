"""``qos/circuit-breaker``: a backend that keeps failing is not called for some time.

The states are those of sony/gobreaker, which KrakenD uses. These are not failures of the backend
and do not count: an empty queue, a message that cannot be sent, a request that is refused before it
reaches the backend, a limit of the gateway, a client that disconnects.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from ..amqp.settings import CONSUMER
from ..config.findings import Finding
from ..config.structs import Backend, Endpoint, Own, Service
from ..core.component import Assembly, Component, Place
from ..core.failures import name_of
from ..core.proxy import P, Part, Request, Response, Stage
from ..core.rule import Rule, backends, is_anywhere, is_http, when
from ..core.stage import intercepted
from ..errors import (
    BackendFailure,
    BreakerOpen,
    GatewayError,
    QueueEmpty,
    RateLimitExceeded,
    Unpublishable,
)
from ..telemetry.logs import get_logger
from ..telemetry.metrics import Reading

log = get_logger("gateway.breaker")

DEFAULT_TIMEOUT = 60
NOT_CALLED = (RateLimitExceeded, Unpublishable)
"""Failures of requests that did not reach the backend."""


class BreakerSettings(Struct, frozen=True, kw_only=True):
    interval: int = 0
    """Seconds after which a closed breaker resets its count of failures. 0 or less: never."""
    timeout: int = 0
    """Seconds for which an open breaker does not call the backend; then one request is let through.
    0 or less: 60."""
    max_errors: int = 0
    """Failures in a row that do not open the breaker yet; one more opens it. 0: the first failure
    opens it. Less than 0: it never opens."""
    name: str = ""
    """The name of the breaker in the log."""
    log_status_change: bool = False
    """Whether each change of the breaker's state is logged."""
    ignored_statuses: Own[tuple[int, ...]] = ()
    """HTTP statuses of the backend that count neither as a failure nor as a success, such as
    404."""

    @property
    def is_off(self) -> bool:
        """No key of KrakenD's is set: then there is no breaker."""
        return replace(self, ignored_statuses=()) == BreakerSettings()


class State(Enum):
    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


STATE_NUMBERS = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
"""The states, as numbers of metrics."""


class Breaker:
    """Lets calls through or refuses them, depending on the results of earlier calls.

    A call that began before the last change of state, or in an earlier ``interval``, does not
    count.
    """

    def __init__(
        self, settings: BreakerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = settings.name
        self._is_logged = settings.log_status_change
        self._ignored = frozenset(settings.ignored_statuses)
        self._max_errors = settings.max_errors if settings.max_errors >= 0 else math.inf
        self._clock = clock
        self._durations = {
            State.CLOSED: settings.interval if settings.interval > 0 else math.inf,
            State.HALF_OPEN: math.inf,
            State.OPEN: settings.timeout if settings.timeout > 0 else DEFAULT_TIMEOUT,
        }
        self._state = State.CLOSED
        self._generation = 0
        self._failures = 0
        self._has_trial = False
        self._until = clock() + self._durations[State.CLOSED]

    @property
    def state(self) -> State:
        """What it is for the next request."""
        is_over = self._state is State.OPEN and self._clock() >= self._until
        return State.HALF_OPEN if is_over else self._state

    def begin(self, request: Request) -> BreakerCall:
        """Raises :class:`BreakerOpen` when the backend is not to be called.

        A half-open breaker lets one call through.
        """
        if self._clock() >= self._until:
            self._enter(State.HALF_OPEN if self._state is State.OPEN else State.CLOSED)
        if self._state is State.OPEN:
            raise BreakerOpen
        if self._has_trial:
            raise BreakerOpen("too many requests")
        self._has_trial = self._state is State.HALF_OPEN
        return BreakerCall(self, self._generation, request)

    def ended(self, generation: int, part: Part | None) -> None:
        """``part``: the result of a call; None: the result is not known."""
        if generation != self._generation:
            return
        self._has_trial = False
        is_failure = _is_failure(part, self._ignored)
        if is_failure is None:
            return
        self._failures = self._failures + 1 if is_failure else 0
        if is_failure and (self._state is State.HALF_OPEN or self._failures > self._max_errors):
            self._enter(State.OPEN)
        elif self._state is State.HALF_OPEN:
            self._enter(State.CLOSED)

    def _enter(self, state: State) -> None:
        if self._is_logged and state is not self._state:
            message = "circuit breaker %r went from %s to %s"
            log.warning(message, self._name, self._state.value, state.value)
        self._state = state
        self._generation += 1
        self._failures = 0
        self._has_trial = False
        self._until = self._clock() + self._durations[state]


class BreakerCall:
    """One call to the backend."""

    __slots__ = ("_breaker", "_generation", "request")

    def __init__(self, breaker: Breaker, generation: int, request: Request) -> None:
        self.request = request
        self._breaker = breaker
        self._generation = generation

    def finish(self, part: Part) -> Part:
        self._breaker.ended(self._generation, part)
        return part

    def abandon(self, *, reached_backend: bool) -> None:
        self._breaker.ended(self._generation, None)


def _is_failure(part: Part | None, ignored: Container[int]) -> bool | None:
    """None: the result says nothing about the backend."""
    if part is None or isinstance(part, NOT_CALLED):
        return None
    if isinstance(part, BackendFailure) and part.answered in ignored:
        return None
    if isinstance(part, GatewayError) and not part.reached_backend:
        return None
    return not isinstance(part, Response | QueueEmpty)


def build_breaker(
    settings: BreakerSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    if settings.is_off:
        return lambda branch: branch
    breaker = Breaker(settings)
    if assembly.metrics is not None:
        place = next(number for number, each in enumerate(endpoint.backend) if each is backend)
        labels = {"endpoint": name_of(endpoint), "backend": f"backend[{place}]"}
        assembly.metrics.readers.append(
            lambda: [Reading("breaker.state", labels, STATE_NUMBERS[breaker.state])]
        )
    return lambda branch: with_breaker(branch, breaker)


def with_breaker(branch: P, breaker: Breaker) -> P:
    """The branch, called only when the breaker lets the call through."""
    return intercepted(branch, breaker)


def findings(settings: BreakerSettings, place: Place) -> Iterator[Finding]:
    assert place.backend is not None
    return map(place.warning, _traps(settings, place.backend))


def _traps(settings: BreakerSettings, backend: Backend) -> Iterator[str]:
    if settings.is_off:
        yield "no key is set: there is no breaker"
        return
    if settings.max_errors == 0:
        yield "max_errors 0: the first failure opens the breaker"
    elif settings.max_errors < 0:
        yield "max_errors below 0: the breaker never opens"
    if settings.timeout <= 0:
        yield f"no timeout: an open breaker does not call the backend for {DEFAULT_TIMEOUT} s"
    if settings.interval <= 0:
        yield "no interval: failures in a row count for ever, even if they are days apart"
    if CONSUMER in backend.extra_config:
        yield (
            "of little use on a consumer: an empty queue is not a failure, the gateway reconnects "
            "to the broker by itself, and messages wait while the breaker is open"
        )
    if backend.encoding == "no-op":
        yield "with no-op every status is a success: only a backend without a response has failed"


def _is_missing(service: Service) -> bool:
    """A breaker in front of a queue would open when it is empty: only HTTP backends count."""
    has_http = any(is_http(place.backend) for place in backends(service))
    return has_http and not is_anywhere(service, BreakerSettings)


COMPONENT = Component(
    "qos/circuit-breaker",
    BreakerSettings,
    aliases=("github.com/devopsfaith/krakend-circuitbreaker/gobreaker",),
    backend_stage=build_breaker,
    passes_bodies=True,
    findings=findings,
    advice=(
        Rule(
            "3.1.3",
            "HIGH",
            "Protect HTTP backends with a circuit breaker (qos/circuit-breaker).",
            lambda service: when(_is_missing(service)),
        ),
    ),
)
