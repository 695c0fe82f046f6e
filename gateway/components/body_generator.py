"""``modifier/request-body-generator``, ``modifier/response-body-generator``: bodies from templates.

KrakenD has them in its Enterprise Edition. The templates are Jinja2's, not Go's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..config.files import cannot_read
from ..config.json_types import Json
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component
from ..core.helpers import Helped
from ..core.large import KIB, pieces, whole
from ..core.proxy import P, Request, Response, Stage
from ..core.stage import Functions, Large, intercepted
from ..encoding import DecodeError, Document, decode_safejson, decode_value
from ..errors import ModifierFailure
from ..telemetry.logs import get_logger
from .large_requests import LargeRequests, with_large_requests
from .response_value import (
    PackedResponse,
    PackedResult,
    json_value,
    pack_response,
    unpack_response,
    with_body,
)
from .template import build_render, max_inline_bytes, read_template, template_problem
from .variables import Variables, as_lists, backend_variables, endpoint_variables

log = get_logger("gateway.template")

BODY_HEADERS = (b"content-type", b"content-encoding", b"content-length", b"content-md5", b"digest")
"""Headers that describe a body: they are removed when the body is replaced."""

MAX_INLINE_BYTES = 4 * KIB
"""The largest body, in bytes, for which a template without nested loops is rendered on the event
loop."""


class GeneratorSettings(Struct, frozen=True, kw_only=True):
    template: str = ""
    """The Jinja2 template, as plain text or in base64. Either this key or ``path`` is required."""
    path: str = ""
    """The file of the template, in UTF-8."""
    content_type: str = "application/json"
    """The ``Content-Type`` of the new body. A new response body of a JSON type is decoded; another
    one becomes the value of ``content``, except with ``no-op``."""
    debug: bool = False
    """Whether the variables and the result of each rendering are logged, at the level DEBUG."""
    variables: dict[str, Any] = {}
    """Any values, which the template can use as ``variables``."""


def verify_generator(settings: GeneratorSettings) -> Iterator[tuple[str, str]]:
    if bool(settings.template) == bool(settings.path):
        yield "", 'expected either "template" or "path"'
        return
    key = "path" if settings.path else "template"
    try:
        text = read_template(settings.template, settings.path)
    except (OSError, ValueError) as error:
        yield key, cannot_read(settings.path, error)
        return
    if problem := template_problem(text):
        yield key, f"not a template: {problem}"
    if not _is_header(settings.content_type):
        yield "content_type", "expected a media type"


def build_request_generator(
    settings: GeneratorSettings, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    variables = endpoint_variables(endpoint, assembly.service)
    return _build_request_stage(settings, variables, assembly)


def build_backend_request_generator(
    settings: GeneratorSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    variables = backend_variables(backend, endpoint, assembly.service)
    return _build_request_stage(settings, variables, assembly)


def build_response_generator(
    settings: GeneratorSettings, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    variables = endpoint_variables(endpoint, assembly.service)
    return _build_response_stage(settings, variables, assembly)


def build_backend_response_generator(
    settings: GeneratorSettings, backend: Backend, endpoint: Endpoint, assembly: Assembly
) -> Stage:
    variables = backend_variables(backend, endpoint, assembly.service)
    return _build_response_stage(settings, variables, assembly)


def _build_request_stage(
    settings: GeneratorSettings, variables: Variables, assembly: Assembly
) -> Stage:
    generate = _build_generate(settings, variables)
    content_type = (b"content-type", settings.content_type.encode())

    def with_generated(request: Request) -> Request:
        return with_new_body(request, generate(request, {"req_body": _request_body(request.body)}))

    def with_new_body(request: Request, body: bytes) -> Request:
        changed = request.copy()
        changed.body = body
        kept = (header for header in request.headers if header[0] not in BODY_HEADERS)
        changed.headers = [*kept, content_type]
        return changed

    large = LargeRequests(
        max_inline_bytes(read_template(settings.template, settings.path), MAX_INLINE_BYTES),
        Helped(assembly.helpers, build_large_request, settings),
        lambda request: ({name: read(request) for name, read in variables.items()}, request.body),
        with_new_body,
    )

    def stage(branch: P, /) -> P:
        return with_large_requests(intercepted(branch, Functions(with_generated)), branch, large)

    return stage


def build_large_request(
    settings: GeneratorSettings,
) -> Callable[[dict[str, object], bytes], bytes]:
    """In a helper process: from the variables and the body of a request to its new body."""
    render = build_render(read_template(settings.template, settings.path))

    def generate(values: dict[str, object], body: bytes) -> bytes:
        all_values = {"variables": settings.variables, **values, "req_body": _request_body(body)}
        return render(all_values).encode(errors="replace")

    return generate


def _build_response_stage(
    settings: GeneratorSettings, variables: Variables, assembly: Assembly
) -> Stage:
    generate = _build_generate(settings, variables)
    content_type = (b"content-type", settings.content_type.encode())
    read = _build_read(settings)

    def with_generated(request: Request, response: Response) -> Response:
        body = generate(request, _response_values(response))
        if response.body is not None:
            return with_new_body(response, body)
        return response.with_data(read(body))

    def with_new_body(response: Response, body: bytes) -> Response:
        changed = with_body(response, body)
        kept = (header for header in response.headers if header[0] not in BODY_HEADERS)
        changed.headers = [*kept, content_type]
        return changed

    def with_result(response: Response, result: PackedResult) -> Response:
        if isinstance(result, bytes):
            return with_new_body(response, result)
        return response.with_data(whole(result))

    max_bytes = max_inline_bytes(read_template(settings.template, settings.path), MAX_INLINE_BYTES)
    large = Large(
        max_bytes,
        Helped(assembly.helpers, build_large_generate, settings),
        lambda request, response: (
            {name: read(request) for name, read in variables.items()},
            pack_response(response),
        ),
        with_result,
    )

    def stage(branch: P, /) -> P:
        if max_bytes < MAX_INLINE_BYTES:  # a response of ``now`` may be larger
            branch = replace(branch, now=None)
        return intercepted(branch, Functions(after=with_generated), large=large)

    return stage


def _response_values(response: Response) -> dict[str, object]:
    return {
        "resp_body": _response_body(response),
        "resp_status": response.status if response.body is not None else 0,
        "resp_headers": as_lists(response.headers),
        "resp_completed": response.is_whole,
    }


def build_large_generate(
    settings: GeneratorSettings,
) -> Callable[[dict[str, object], PackedResponse], PackedResult]:
    """In a helper process: from the variables of a request and its response to the new content."""
    render = build_render(read_template(settings.template, settings.path))
    read = _build_read(settings)

    def generate(values: dict[str, object], packed: PackedResponse) -> PackedResult:
        response = unpack_response(packed)
        all_values = {"variables": settings.variables, **values, **_response_values(response)}
        body = render(all_values).encode(errors="replace")
        return body if response.body is not None else pieces(read(body))

    return generate


def _build_read(settings: GeneratorSettings) -> Callable[[bytes], Document | None]:
    """A function that decodes the result of a template to the document of a response."""
    if "json" not in settings.content_type.lower():
        return lambda body: {"content": body.decode()}

    def read(body: bytes) -> Document | None:
        try:
            return decode_safejson(body)
        except DecodeError as error:
            raise ModifierFailure(f"template: its result is not JSON: {error}") from error

    return read


def _build_generate(
    settings: GeneratorSettings, variables: Variables
) -> Callable[[Request, dict[str, object]], bytes]:
    """A function of a request and further variables, which renders a body."""
    render = build_render(read_template(settings.template, settings.path))

    def generate(request: Request, values: dict[str, object]) -> bytes:
        values["variables"] = settings.variables
        for name, read in variables.items():
            values[name] = read(request)
        text = render(values)
        if settings.debug:
            log.debug("%s: from %r\n%s", request.path, values, text)
        return text.encode(errors="replace")

    return generate


def _request_body(body: bytes) -> Json:
    """The JSON in the body; when it is not JSON, the body as a string."""
    try:
        value: Json = decode_value(body)
    except DecodeError:
        value = body.decode(errors="replace")
    return value


def _response_body(response: Response) -> Json:
    """The document; with ``no-op`` the JSON in the body; when it is not JSON, a string."""
    try:
        return json_value(response)
    except DecodeError as error:
        if response.body is not None:
            return response.body.decode(errors="replace")
        raise ModifierFailure(str(error)) from error


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable()


REQUEST_GENERATOR = Component(
    "modifier/request-body-generator",
    GeneratorSettings,
    aliases=("modifier/body-generator",),
    verify=verify_generator,
    backend_stage=build_backend_request_generator,
    endpoint_stage=build_request_generator,
    passes_bodies=True,
)


RESPONSE_GENERATOR = Component(
    "modifier/response-body-generator",
    GeneratorSettings,
    verify=verify_generator,
    backend_stage=build_backend_response_generator,
    endpoint_stage=build_response_generator,
    max_inline_bytes=MAX_INLINE_BYTES,
)
