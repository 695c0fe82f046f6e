"""``validation/cel``: a request or a response for which an expression is not true is aborted.

As in KrakenD the letters ``req``, ``resp`` and ``JWT`` anywhere in an expression decide when it is
evaluated: on the request, on the response, on the token. An expression with none of them is never
evaluated. One with several is evaluated each time, with the variables of that moment only.
(krakend-cel)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..amqp.consume.findings import PARKED_ON_FAILURE
from ..amqp.settings import CONSUMER
from ..config.findings import Finding
from ..config.json_types import Json, JsonObject
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component, Place, TokenCheck
from ..core.families import ValidationSettings
from ..core.helpers import Helped
from ..core.large import KIB, MIN_VALUE_BYTES
from ..core.proxy import P, Request, Response, Stage
from ..core.stage import Functions, Large, as_it_came, as_it_is, intercepted
from ..encoding import Document, unwrap_all
from ..errors import Aborted
from .auth.settings import VALIDATOR
from .expression import (
    build_bounded_condition,
    build_condition,
    max_values,
    syntax_problem,
    type_problem,
)
from .response_value import PackedResponse, pack_response, unpack_response
from .variables import Variables, as_lists, backend_variables, endpoint_variables

MAX_INLINE_BYTES = KIB
"""Bytes of a response that are inspected on the event loop: 20 ms at most. Measured at worst:
``map`` 40 ms for 1,000 values, and four times as long for twice as many."""

REQUEST, RESPONSE, TOKEN = "req", "resp", "JWT"
PHASES = (REQUEST, RESPONSE, TOKEN)

SourceT = TypeVar("SourceT")
"""What variables are read from: a Request, a Response, or the claims of a token."""


class Expression(Struct, frozen=True, kw_only=True):
    check_expr: str = ""
    """The CEL expression. If it is not true, the request or the response is aborted with status
    500, on a token with 401. It must name a variable that begins with ``req`` or ``resp``, or
    ``JWT``; otherwise it is never evaluated."""
    mod_expr: str = ""
    """Has no effect, as in KrakenD."""


class CelSettings(ValidationSettings, Struct, frozen=True):
    """The value of the namespace is the list."""

    expressions: tuple[Expression, ...] = ()
    """The expressions, in the order in which they are evaluated. All of them must be true."""


def phases(text: str) -> list[str]:
    """The phases in which an expression is evaluated."""
    return [phase for phase in PHASES if phase in text]


def verify_cel(settings: CelSettings) -> Iterator[tuple[str, str]]:
    for index, expression in enumerate(settings.expressions):
        if expression.check_expr and (problem := syntax_problem(expression.check_expr)):
            yield f"[{index}].check_expr", f"not an expression: {problem}"


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
    """Evaluates the expressions on the claims of a token."""
    variables: Mapping[str, Callable[[JsonObject], object]] = {"JWT": _with_doubles, "now": _now}
    return _build_check(settings, TOKEN, variables)


def _build_stage(settings: CelSettings, request_variables: Variables, assembly: Assembly) -> Stage:
    check_request = _build_check(settings, REQUEST, {**request_variables, "now": _now})
    check_response = _build_check(settings, RESPONSE, RESPONSE_VARIABLES)

    def before(request: Request) -> Request:
        if check_request is not None:
            check_request(request)
        return request

    def after(request: Request, response: Response) -> Response:
        # KrakenD does not evaluate expressions on partial responses.
        if check_response is not None and not response.has_failures:
            check_response(response)
        return response

    max_bytes = max_inline_bytes(settings)
    large = Large(
        max_bytes,
        Helped(assembly.helpers, build_large_check, settings),
        lambda request, response: (pack_response(response),),
        _with_failed,
    )

    def stage(branch: P, /) -> P:
        if max_bytes < MAX_INLINE_BYTES:  # a response of ``now`` may be larger
            branch = replace(branch, now=None)
        functions = Functions(
            before if check_request else as_it_is, after if check_response else as_it_came
        )
        return intercepted(branch, functions, large=large if check_response else None)

    return stage


def max_inline_bytes(settings: CelSettings) -> int:
    """The largest response, in bytes, for which expressions are evaluated on the event loop."""
    texts = [each.check_expr for each in settings.expressions if RESPONSE in each.check_expr]
    values = [number for text in texts if (number := max_values(text)) is not None]
    return min([MAX_INLINE_BYTES, *(MIN_VALUE_BYTES * number for number in values)])


NONE_FAILED = -1


def build_large_check(settings: CelSettings) -> Callable[[PackedResponse], int]:
    """In a helper process: the number of the first expression that is not true for a response."""
    check = _build_check(settings, RESPONSE, RESPONSE_VARIABLES)

    def first_failed(packed: PackedResponse) -> int:
        response = unpack_response(packed)
        try:
            if check is not None and not response.has_failures:
                check(response)
        except Aborted as aborted:
            return aborted.number
        return NONE_FAILED

    return first_failed


def _with_failed(response: Response, failed: int) -> Response:
    if failed != NONE_FAILED:
        raise Aborted(failed)
    return response


def _build_check(
    settings: CelSettings, phase: str, variables: Mapping[str, Callable[[SourceT], object]]
) -> Callable[[SourceT], None] | None:
    """All expressions of one phase, in their order; None when there are none.

    The function raises :class:`gateway.errors.Aborted`, and TooManyValues for a request or a token.
    """
    texts = [each.check_expr for each in settings.expressions if phase in each.check_expr]
    if not texts:
        return None
    # A large response goes to a helper process; a request and a token do not.
    build = build_condition if phase == RESPONSE else build_bounded_condition
    conditions = [build(text) for text in texts]
    needed = [
        (name, read) for name, read in variables.items() if any(name in text for text in texts)
    ]

    def check(source: SourceT) -> None:
        try:
            values = {name: read(source) for name, read in needed}
        except RecursionError as error:
            raise Aborted(0) from error
        for number, is_true in enumerate(conditions):
            if not is_true(values):
                raise Aborted(number)

    return check


def _now(source: object) -> str:
    """The local time with milliseconds, in Go's form of RFC 3339."""
    now = datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
    return now.removesuffix("+00:00") + "Z" if now.endswith("+00:00") else now


def _status(response: Response) -> int:
    """The status of a ``no-op`` response, else 0, as in KrakenD."""
    return response.status if response.body is not None else 0


def _data(response: Response) -> Document:
    """The document; its numbers are strings, as in KrakenD. Raises RecursionError."""
    data: Document = unwrap_all(response.data or {})
    return data


RESPONSE_VARIABLES: Mapping[str, Callable[[Response], object]] = {
    "resp_completed": lambda response: response.is_whole,
    "resp_metadata_status": _status,
    "resp_metadata_headers": lambda response: as_lists(response.headers),
    "resp_data": _data,
    "now": _now,
}


def _with_doubles(value: Json) -> Json:
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
        yield "names no variable of a request, a response or a token: it is never evaluated"
        return
    if when == [TOKEN] and not has_tokens:
        yield f"there is no token without {VALIDATOR} on the endpoint: it is never evaluated"
        return
    if REQUEST in when and RESPONSE in when:
        yield "names both a request and a response: one of them is always missing, an error"
    elif TOKEN in when and len(when) > 1:
        yield "names a token and something else: one of them is always missing, an error"
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
