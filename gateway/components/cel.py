"""``validation/cel``: requests and answers for which an expression does not hold are aborted.

As in KrakenD the letters ``req``, ``resp`` and ``JWT`` anywhere in an expression decide when it is
evaluated: before, behind, with the token. One with none of them never is; one with several is
evaluated each time, with nothing but what is known by then. (krakend-cel)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..amqp.consume.findings import PARKED_ON_FAILURE
from ..amqp.settings import CONSUMER
from ..config.findings import Finding
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component, Place, TokenCheck
from ..core.families import ValidationSettings
from ..core.helpers import Helped
from ..core.large import KIB, MIN_VALUE_BYTES
from ..core.proxy import P, Request, Response, Stage
from ..core.stage import Functions, Large, as_it_came, as_it_is, intercepted
from ..encoding import unwrap_all
from ..errors import Aborted
from .auth.settings import VALIDATOR
from .expression import build_bounded_holds, build_holds, most_values, syntax_problem, type_problem
from .response_value import Portable, in_helper, to_helper
from .variables import Variables, as_lists, backend_variables, endpoint_variables

MAX_INLINE_BYTES = KIB
"""Bytes of a response that are inspected on the event loop: 20 ms at most. Measured at worst:
``map`` 40 ms for 1,000 values, and four times as long for twice as many."""

REQUEST, RESPONSE, TOKEN = "req", "resp", "JWT"
PHASES = (REQUEST, RESPONSE, TOKEN)

Check: TypeAlias = Callable[[Any], None]
"""Raises :class:`gateway.errors.Aborted`, or TooManyValues for a request or a token."""


class Expression(Struct, frozen=True, kw_only=True):
    """``mod_expr`` is read and has no effect, as in KrakenD."""

    check_expr: str = ""
    mod_expr: str = ""


class CelSettings(ValidationSettings, Struct, frozen=True):
    """The value of the namespace is the list."""

    expressions: tuple[Expression, ...] = ()


def phases(text: str) -> list[str]:
    """When an expression is evaluated."""
    return [phase for phase in PHASES if phase in text]


def verify_cel(settings: CelSettings) -> Iterator[tuple[str, str]]:
    for place, expression in enumerate(settings.expressions):
        if expression.check_expr and (problem := syntax_problem(expression.check_expr)):
            yield f"[{place}].check_expr", f"not an expression: {problem}"


def build_endpoint_cel(settings: CelSettings, endpoint: Endpoint, assembly: Assembly) -> Stage:
    return _build_stage(settings, endpoint_variables(endpoint, assembly.service), assembly)


def build_backend_cel(
    settings: CelSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    variables = backend_variables(backend, endpoint, assembly.service)
    return _build_stage(settings, variables, assembly)


def build_token_cel(
    settings: CelSettings, endpoint: Endpoint, assembly: Assembly
) -> TokenCheck | None:
    """What the expressions say on the claims of a token."""
    return _build_check(settings, TOKEN, {"JWT": _with_doubles, "now": _now})


def _build_stage(settings: CelSettings, request_variables: Variables, assembly: Assembly) -> Stage:
    check_request = _build_check(settings, REQUEST, {**request_variables, "now": _now})
    check_response = _build_check(settings, RESPONSE, RESPONSE_VARIABLES)

    def before(request: Request) -> Request:
        if check_request is not None:
            check_request(request)
        return request

    def after(request: Request, response: Response) -> Response:
        # KrakenD does not look at partial answers.
        if check_response is not None and not response.has_failures:
            check_response(response)
        return response

    most = most_at_once(settings)
    large = Large(
        most,
        Helped(assembly.helpers, build_large_check, settings),
        lambda request, response: (to_helper(response),),
        _held,
    )

    def stage(branch: P, /) -> P:
        if most < MAX_INLINE_BYTES:  # what a branch answers now may be larger
            branch = replace(branch, now=None)
        functions = Functions(
            before if check_request else as_it_is, after if check_response else as_it_came
        )
        return intercepted(branch, functions, large=large if check_response else None)

    return stage


def most_at_once(settings: CelSettings) -> int:
    """The largest answer that is looked into on the event loop, in bytes."""
    texts = [each.check_expr for each in settings.expressions if RESPONSE in each.check_expr]
    values = [number for text in texts if (number := most_values(text)) is not None]
    return min([MAX_INLINE_BYTES, *(MIN_VALUE_BYTES * number for number in values)])


ALL_HOLD = -1


def build_large_check(settings: CelSettings) -> Callable[[Portable], int]:
    """In a helper: the number of the first expression that does not hold for an answer."""
    check = _build_check(settings, RESPONSE, RESPONSE_VARIABLES)

    def number(portable: Portable) -> int:
        response = in_helper(portable)
        try:
            if check is not None and not response.has_failures:
                check(response)
        except Aborted as aborted:
            return aborted.number
        return ALL_HOLD

    return number


def _held(response: Response, number: int) -> Response:
    if number != ALL_HOLD:
        raise Aborted(number)
    return response


def _build_check(
    settings: CelSettings, phase: str, variables: Mapping[str, Callable[[Any], Any]]
) -> Check | None:
    """All expressions of one phase, in their order; None when there are none."""
    texts = [each.check_expr for each in settings.expressions if phase in each.check_expr]
    if not texts:
        return None
    # A large answer goes to a helper process; a request does not.
    build = build_holds if phase == RESPONSE else build_bounded_holds
    expressions = [build(text) for text in texts]
    needed = [
        (name, read) for name, read in variables.items() if any(name in text for text in texts)
    ]

    def check(source: Any) -> None:
        try:
            values = {name: read(source) for name, read in needed}
        except RecursionError as error:
            raise Aborted(0) from error
        for number, holds in enumerate(expressions):
            if not holds(values):
                raise Aborted(number)

    return check


def _now(source: object) -> str:
    """Go's RFC 3339 in milliseconds, in local time."""
    now = datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
    return now.removesuffix("+00:00") + "Z" if now.endswith("+00:00") else now


def _status(response: Response) -> int:
    """Of an answer that is passed on as it came, else 0, as in KrakenD."""
    return response.status if response.body is not None else 0


def _data(response: Response) -> dict[str, Any]:
    """The document; its numbers are text, as in KrakenD. Raises RecursionError."""
    data: dict[str, Any] = unwrap_all(response.data or {})
    return data


RESPONSE_VARIABLES: Mapping[str, Callable[[Any], Any]] = {
    "resp_completed": lambda response: response.is_whole,
    "resp_metadata_status": _status,
    "resp_metadata_headers": lambda response: as_lists(response.headers),
    "resp_data": _data,
    "now": _now,
}


def _with_doubles(value: Any) -> Any:
    """Every number of a token is a double, as Go decodes it."""
    if isinstance(value, dict):
        return {key: _with_doubles(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_doubles(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value


def findings(settings: CelSettings, place: Place) -> Iterator[Finding]:
    part = place.agent or place.endpoint
    has_tokens = place.backend is None and part is not None and VALIDATOR in part.extra_config
    for number, expression in enumerate(settings.expressions):
        for text in _traps(expression.check_expr, has_tokens=has_tokens):
            yield place.warning(text, f"[{number}].check_expr")
    is_consumer = place.backend is not None and CONSUMER in place.backend.extra_config
    if is_consumer and any(RESPONSE in phases(each.check_expr) for each in settings.expressions):
        yield place.warning(PARKED_ON_FAILURE)


def _traps(text: str, *, has_tokens: bool) -> Iterator[str]:
    when = phases(text)
    if not when:
        yield "names neither a request nor an answer nor a token: it is never evaluated"
        return
    if when == [TOKEN] and not has_tokens:
        yield f"there is no token without {VALIDATOR} on the endpoint: it is never evaluated"
        return
    if REQUEST in when and RESPONSE in when:
        yield "names both a request and an answer: whichever is not there is an error"
    elif TOKEN in when and len(when) > 1:
        yield "names a token beside something else: whichever is not there is an error"
    if problem := type_problem(text):
        yield f"may fail every time: {problem}"


COMPONENT = Component(
    "validation/cel",
    CelSettings,
    aliases=("github.com/devopsfaith/krakend-cel",),
    whole="expressions",
    verify=verify_cel,
    backend_stage=build_backend_cel,
    endpoint_stage=build_endpoint_cel,
    passes_bodies=True,
    max_inline_bytes=MAX_INLINE_BYTES,
    token_check=build_token_cel,
    findings=findings,
)
