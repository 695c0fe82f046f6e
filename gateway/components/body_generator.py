"""``modifier/request-body-generator``, ``modifier/response-body-generator``: bodies by templates.

KrakenD has them in its Enterprise Edition; templates are Jinja2's here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..config.files import cannot_read
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component
from ..core.helpers import Helped
from ..core.large import KIB, Pieces, pieces, whole
from ..core.proxy import P, Request, Response, Stage
from ..core.stage import Functions, Large, intercepted
from ..encoding import DecodeError, Document, decode_safejson, decode_value
from ..errors import ModifierFailure
from ..telemetry.logs import get_logger
from .large_requests import LargeRequests, with_large_requests
from .response_value import Portable, in_helper, to_helper, value_of, with_body
from .template import build_render, most_rendered, read_template, template_problem
from .variables import Variables, as_lists, backend_variables, endpoint_variables

log = get_logger("gateway.template")

OF_THE_BODY = (b"content-type", b"content-encoding", b"content-length", b"content-md5", b"digest")
"""Headers that say something of a body that is replaced."""

MAX_INLINE_BYTES = 4 * KIB
"""Bytes of a body for which a template is rendered on the event loop, if its loops allow that."""

Build: TypeAlias = Callable[["GeneratorSettings", Variables], Stage]


class GeneratorSettings(Struct, frozen=True, kw_only=True):
    """``template``: in base64 or as it is; or ``path``. ``variables``: what templates see by that
    name. ``debug``: what goes in and comes out is logged."""

    template: str = ""
    path: str = ""
    content_type: str = "application/json"
    debug: bool = False
    variables: dict[str, Any] = {}


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
        return finish(request, generate(request, {"req_body": _request_body(request.body)}))

    def finish(request: Request, body: bytes) -> Request:
        asked = request.copy()
        asked.body = body
        kept = (header for header in request.headers if header[0] not in OF_THE_BODY)
        asked.headers = [*kept, content_type]
        return asked

    large = LargeRequests(
        most_rendered(read_template(settings.template, settings.path), MAX_INLINE_BYTES),
        Helped(assembly.helpers, build_large_request, settings),
        lambda request: ({name: read(request) for name, read in variables.items()}, request.body),
        finish,
    )

    def stage(branch: P, /) -> P:
        return with_large_requests(intercepted(branch, Functions(with_generated)), branch, large)

    return stage


def build_large_request(
    settings: GeneratorSettings,
) -> Callable[[dict[str, Any], bytes], bytes]:
    """In a helper: from what a template sees of the request beside its body to another body."""
    render = build_render(read_template(settings.template, settings.path))

    def generate(values: dict[str, Any], body: bytes) -> bytes:
        seen = {"variables": settings.variables, **values, "req_body": _request_body(body)}
        return render(seen).encode(errors="replace")

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
            return passed_on(response, body)
        return response.with_data(read(body))

    def passed_on(response: Response, body: bytes) -> Response:
        changed = with_body(response, body)
        kept = (header for header in response.headers if header[0] not in OF_THE_BODY)
        changed.headers = [*kept, content_type]
        return changed

    def finish(response: Response, returned: bytes | Pieces) -> Response:
        if isinstance(returned, bytes):
            return passed_on(response, returned)
        return response.with_data(whole(returned))

    most = most_rendered(read_template(settings.template, settings.path), MAX_INLINE_BYTES)
    large = Large(
        most,
        Helped(assembly.helpers, build_large_generate, settings),
        lambda request, response: (
            {name: read(request) for name, read in variables.items()},
            to_helper(response),
        ),
        finish,
    )

    def stage(branch: P, /) -> P:
        if most < MAX_INLINE_BYTES:  # what a branch answers now may be larger
            branch = replace(branch, now=None)
        return intercepted(branch, Functions(after=with_generated), large=large)

    return stage


def _response_values(response: Response) -> dict[str, Any]:
    return {
        "resp_body": _response_body(response),
        "resp_status": response.status if response.body is not None else 0,
        "resp_headers": as_lists(response.headers),
        "resp_completed": response.is_whole,
    }


def build_large_generate(
    settings: GeneratorSettings,
) -> Callable[[dict[str, Any], Portable], bytes | Pieces]:
    """In a helper: from what a template sees of the request, and an answer, to another answer: the
    body of ``no-op``, else its document."""
    render = build_render(read_template(settings.template, settings.path))
    read = _build_read(settings)

    def generate(values: dict[str, Any], portable: Portable) -> bytes | Pieces:
        response = in_helper(portable)
        seen = {"variables": settings.variables, **values, **_response_values(response)}
        body = render(seen).encode(errors="replace")
        return body if response.body is not None else pieces(read(body))

    return generate


def _build_read(settings: GeneratorSettings) -> Callable[[bytes], Document | None]:
    """From what a template has made to the document of an answer."""
    if "json" not in settings.content_type.lower():
        return lambda body: {"content": body.decode()}

    def read(body: bytes) -> Document | None:
        try:
            return decode_safejson(body)
        except DecodeError as error:
            raise ModifierFailure(f"template: its result is no JSON: {error}") from error

    return read


def _build_generate(
    settings: GeneratorSettings, variables: Variables
) -> Callable[[Request, dict[str, Any]], bytes]:
    """From a request, and what else its template may see, to a body."""
    render = build_render(read_template(settings.template, settings.path))

    def generate(request: Request, values: dict[str, Any]) -> bytes:
        values["variables"] = settings.variables
        for name, read in variables.items():
            values[name] = read(request)
        text = render(values)
        if settings.debug:
            log.debug("%s: from %r\n%s", request.path, values, text)
        return text.encode(errors="replace")

    return generate


def _request_body(body: bytes) -> Any:
    """The JSON in the body, else its text."""
    try:
        return decode_value(body)
    except DecodeError:
        return body.decode(errors="replace")


def _response_body(response: Response) -> Any:
    """The document; for ``no-op`` the JSON in the body, else its text."""
    try:
        return value_of(response)
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
