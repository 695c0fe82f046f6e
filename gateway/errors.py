"""Every error the gateway raises on purpose, and the HTTP status each one means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar


class GatewayError(Exception):
    """Base of all. ``status`` is the HTTP status a client gets when nothing better answers.

    ``content_type``: of its text; empty: plain text.
    ``backend``: the place of the backend that failed, where there are several, as ``backend[1]``.
    ``decides``: the whole response fails with it, also if other backends succeeded.
    ``is_shown``: the client gets its text, also without ``return_error_msg``.
    ``reached_backend``: false if the request was rejected before the backend was called. Such a
    failure does not count for the circuit breaker.
    """

    status: int = 500
    content_type = ""
    backend = ""
    decides = False
    is_shown = False
    reached_backend = True


class Refused(GatewayError):
    """A request that may not come in. Answered with the bare status, as KrakenD does.

    ``headers``: of the answer, names in lower case.
    """

    def __init__(
        self, status: int, text: str = "", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class DeadlineExceeded(GatewayError):
    """The time for a backend is over (the text is KrakenD's)."""

    def __init__(self, text: str = "context deadline exceeded") -> None:
        super().__init__(text)


class RateLimitExceeded(GatewayError):
    """A backend has had as many requests as it may (the text is KrakenD's)."""

    def __init__(self, text: str = "rate limit exceded") -> None:
        super().__init__(text)


class BreakerOpen(GatewayError):
    """A backend that kept failing is left alone (the texts are those of sony/gobreaker)."""

    def __init__(self, text: str = "circuit breaker is open") -> None:
        super().__init__(text)


class InvalidBody(GatewayError):
    """The body of a request does not fit its schema."""

    status = 400


class InvalidResponse(GatewayError):
    """An answer does not fit its schema; the client gets what the configuration says."""

    is_shown = True

    def __init__(self, text: str, status: int, content_type: str) -> None:
        super().__init__(text)
        self.status = status
        self.content_type = content_type


class Aborted(GatewayError):
    """An expression does not hold (the text is KrakenD's). ``number``: which one, from 0."""

    def __init__(self, number: int) -> None:
        super().__init__(f"request aborted by evaluator #{number}")
        self.number = number


class TooManyValues(GatewayError):
    """A request has more values (headers, query, claims) than an expression may go through."""

    status = 400

    def __init__(self, most: int) -> None:
        super().__init__(f"too many values for validation/cel: a request may have {most}")


class ModifierFailure(GatewayError):
    """A template or a query that a request or an answer does not fit."""


class HelperFailure(GatewayError):
    """What a helper process did with a large document failed; the text says why."""


class BackendFailure(GatewayError):
    """An HTTP backend could not be asked, or its answer is of no use.

    ``answered``: the status of an answer that counts as a failure; 0: there was none.
    """

    def __init__(self, text: str = "", answered: int = 0) -> None:
        super().__init__(text)
        self.answered = answered


class ResponseBroken(GatewayError):
    """An answer broke off after its head had been sent: what is left is to cut the connection."""


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
    """No message came until the deadline. Not an error of anybody."""

    status = 204

    def __init__(self, text: str = "no message in the queue", status: int = 204) -> None:
        super().__init__(text)
        self.status = status


class BrokerUnavailable(AmqpFailure):
    """The broker is away, blocked, or refused what the configuration declares."""

    status = 503
    retry_after = 1


class NotConfirmed(BrokerUnavailable):
    """A message that the broker does not have."""

    decides = True


class OutcomeUnknown(AmqpFailure):
    """A message was written and not confirmed before the deadline."""

    status = 504
    decides = True


class Unroutable(AmqpFailure):
    """The broker returned a mandatory message: no queue takes it."""

    status = 422
    decides = True


class Unpublishable(AmqpFailure):
    """A request that cannot become a message; the text names the parameter."""

    status = 400
    decides = True
    is_shown = True


class ValueMissing(AmqpFailure):
    """A key of a producer names what a token or an earlier answer does not have."""

    status = 500
    decides = True


class MessageTooLarge(Unpublishable):
    """The body of a request is larger than the broker's ``max_message_size``."""

    status = 413


class Undecodable(AmqpFailure):
    """A message does not have the encoding that the backend names."""

    status = 502


class SeveralFailures(GatewayError):
    """No backend of several answered. The status and the text are KrakenD's: 500 whatever each of
    them says, and all texts, a line each."""

    def __init__(self, failures: Iterable[GatewayError]) -> None:
        super().__init__("\n".join(map(str, failures)))


WORST_FIRST = (400, 413, 500, 503, 504, 502, 422, 204)


def together(failures: Sequence[GatewayError], *, has_answers: bool) -> GatewayError | None:
    """What the failures of some backends mean for the whole answer; None: nothing.

    ``has_answers``: other backends answered. A failure that decides counts whatever the others
    did. Of AMQP failures the worst is answered.
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
    """The first in the order of :data:`WORST_FIRST`; of equal ones the first."""
    rank = {status: place for place, status in enumerate(WORST_FIRST)}
    return min(errors, key=lambda error: rank.get(error.status, len(rank)))
