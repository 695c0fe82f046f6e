"""Every error the gateway raises on purpose, and the HTTP status each one means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class GatewayError(Exception):
    """Base of all. ``status``: of the response, if the failure decides it.

    ``content_type``: of its text; empty: plain text.
    ``backend``: which backend failed, if there are several, such as ``backend[1]``.
    ``decides``: the whole response fails with it, also if other backends succeeded.
    ``is_shown``: the client gets its text, also without ``return_error_msg``.
    ``reached_backend``: false if the request was rejected before the backend was called. Such a
    failure does not count for the circuit breaker.
    ``error_type``: its name in metrics (``error.type``); empty: the name of its class in snake
    case.
    """

    status: int = 500
    content_type = ""
    backend = ""
    decides = False
    is_shown = False
    reached_backend = True
    error_type = ""

    @property
    def name_of_type(self) -> str:
        """``error_type``, or the name of the class in snake case: ``QueueEmpty`` is
        ``queue_empty``."""
        return self.error_type or _snake_case(type(self).__name__)


@lru_cache
def _snake_case(name: str) -> str:
    return _CAPITAL.sub("_", name).lower()


class Refused(GatewayError):
    """A request that is not admitted. The response has no body, as in KrakenD.

    ``headers``: of the response, names in lower case.
    """

    def __init__(
        self, status: int, text: str = "", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class DeadlineExceeded(GatewayError):
    """A timeout is over (the text is KrakenD's)."""

    error_type = "timeout"

    def __init__(self, text: str = "context deadline exceeded") -> None:
        super().__init__(text)


class RateLimitExceeded(GatewayError):
    """The rate limit of a backend is reached (the text is KrakenD's)."""

    def __init__(self, text: str = "rate limit exceded") -> None:
        super().__init__(text)


class BreakerOpen(GatewayError):
    """The circuit breaker of a backend is open (the texts are those of sony/gobreaker)."""

    def __init__(self, text: str = "circuit breaker is open") -> None:
        super().__init__(text)


class InvalidBody(GatewayError):
    """The body of a request is not valid by its schema."""

    status = 400


class InvalidResponse(GatewayError):
    """A response is not valid by its schema. The configuration says what the client gets."""

    is_shown = True

    def __init__(self, text: str, status: int, content_type: str) -> None:
        super().__init__(text)
        self.status = status
        self.content_type = content_type


class Aborted(GatewayError):
    """An expression is not true (the text is KrakenD's). ``number``: which one, from 0."""

    def __init__(self, number: int) -> None:
        super().__init__(f"request aborted by evaluator #{number}")
        self.number = number


class TooManyValues(GatewayError):
    """A request has more values (headers, query, claims) than an expression may read."""

    status = 400

    def __init__(self, most: int) -> None:
        super().__init__(f"too many values for validation/cel: a request may have {most}")


class ModifierFailure(GatewayError):
    """A template or a query cannot be applied to a request or a response."""


class HelperFailure(GatewayError):
    """The work of a helper process on a large document has failed; the text says why."""


class BackendFailure(GatewayError):
    """An HTTP backend could not be called, or its response counts as a failure.

    ``answered``: the status of that response; 0: there was none.
    """

    def __init__(self, text: str = "", answered: int = 0) -> None:
        super().__init__(text)
        self.answered = answered


class ResponseBroken(GatewayError):
    """A response broke off after its headers were sent: the connection has to be closed."""


class BackendStatusError(BackendFailure):
    """The status of a backend, passed on (``return_error_code``); the text is its body."""

    def __init__(self, status: int, text: str, content_type: str) -> None:
        super().__init__(text, status)
        self.status = status
        self.content_type = content_type


class AmqpFailure(GatewayError):
    """A failure of a broker or of a message.

    With ``"gateway": {"krakend_statuses": true}`` each of them is answered with 500.
    """

    retry_after: ClassVar[int | None] = None
    """Seconds for the header ``Retry-After``; None: no such header."""


class QueueEmpty(AmqpFailure):
    """No message arrived before the deadline. This is not a fault."""

    status = 204

    def __init__(self, text: str = "no message in the queue", status: int = 204) -> None:
        super().__init__(text)
        self.status = status


class BrokerUnavailable(AmqpFailure):
    """The broker is not connected, is blocked, or refused a declaration of the configuration.

    ``error_type``: which of these: "broker_away", "blocked", "not_declared".
    """

    status = 503
    retry_after = 1

    def __init__(self, text: str = "", error_type: str = "broker_away") -> None:
        super().__init__(text)
        self.error_type = error_type


class NotConfirmed(BrokerUnavailable):
    """The broker does not have the message. ``error_type``: also "nack", "refused"."""

    decides = True


class OutcomeUnknown(AmqpFailure):
    """A message was written, and not confirmed before the deadline."""

    error_type = "unconfirmed"
    status = 504
    decides = True


class Unroutable(AmqpFailure):
    """The broker returned a mandatory message: it is routed to no queue."""

    status = 422
    decides = True


class Unpublishable(AmqpFailure):
    """No message can be made of the request; the text names the parameter."""

    status = 400
    decides = True
    is_shown = True


class ValueMissing(AmqpFailure):
    """A key of a producer names a value that the token or an earlier response does not have."""

    status = 500
    decides = True


class MessageTooLarge(Unpublishable):
    """The body of a request is larger than the broker's ``max_message_size``."""

    status = 413


class Undecodable(AmqpFailure):
    """A message is not valid in the encoding of its backend.

    ``message``: which one; None if that is not known.
    """

    status = 502

    def __init__(self, text: str, message: object = None) -> None:
        super().__init__(text)
        self.message = message


class SeveralFailures(GatewayError):
    """Each of several backends has failed. Status and text are KrakenD's: always 500, and the texts
    of all failures, one line each."""

    def __init__(self, failures: Iterable[GatewayError]) -> None:
        super().__init__("\n".join(map(str, failures)))


WORST_FIRST = (400, 413, 500, 503, 504, 502, 422, 204)


def together(failures: Sequence[GatewayError], *, has_answers: bool) -> GatewayError | None:
    """The failure of the whole response, made of the failures of some backends; None: it succeeds.

    ``has_answers``: other backends succeeded. A failure that decides counts also then. Of several
    AMQP failures the worst counts.
    """
    of_amqp = [each for each in failures if isinstance(each, AmqpFailure)]
    if any(each.decides for each in of_amqp):
        return worst(each for each in of_amqp if each.decides or not has_answers)
    if has_answers or not failures:
        return None
    if len(of_amqp) == len(failures):
        return worst(of_amqp)
    return failures[0] if len(failures) == 1 else SeveralFailures(failures)


def worst(errors: Iterable[AmqpFailure]) -> AmqpFailure:
    """The first in the order of :data:`WORST_FIRST`; of equal statuses the first one."""
    rank = {status: place for place, status in enumerate(WORST_FIRST)}
    return min(errors, key=lambda error: rank.get(error.status, len(rank)))
