"""``modifier/request-body-generator``, ``modifier/response-body-generator``: bodies by templates.

KrakenD has them in its Enterprise Edition; templates are Jinja2's here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from msgspec import Struct

from ..config.files import cannot_read
from ..config.structs import Backend, Endpoint
from ..core.component import Assembly, Component
from ..core.helpers import Helped
from ..core.large import MOST_LOOKED_INTO
from ..core.proxy import Branch, Request, Response, Stage
from ..encoding import DecodeError, decode_safejson, decode_value
from ..errors import ModifierFailure
from ..telemetry.logs import get_logger
from .answer import Portable, in_helper, to_helper, value_of, with_body
from .around import Large, wrapped
from .large_requests import LargeRequests, with_large_requests
from .template import build_render, read_template, template_problem
from .variables import Variables, as_lists, backend_variables, endpoint_variables

log = get_logger("gateway.template")

OF_THE_BODY = (b"content-type", b"content-encoding", b"content-length", b"content-md5", b"digest")
"""Headers that say something of a body that is replaced."""

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
        MOST_LOOKED_INTO["modifier/response-body-generator"],
        Helped(assembly.helpers, build_large_request, settings),
        lambda request: ({name: read(request) for name, read in variables.items()}, request.body),
        finish,
    )

    def stage(branch: Branch) -> Branch:
        return with_large_requests(wrapped(branch, before=with_generated), branch, large)

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
    is_json = "json" in settings.content_type.lower()

    def with_generated(request: Request, response: Response) -> Response:
        return finish(response, generate(request, _response_values(response)))

    def finish(response: Response, body: bytes) -> Response:
        if response.body is not None:
            changed = with_body(response, body)
            kept = (header for header in response.headers if header[0] not in OF_THE_BODY)
            changed.headers = [*kept, content_type]
            return changed
        if not is_json:
            return response.with_data({"content": body.decode()}, response.is_complete)
        try:
            return response.with_data(decode_safejson(body), response.is_complete)
        except DecodeError as error:
            raise ModifierFailure(f"template: its result is no JSON: {error}") from error

    large = Large(
        MOST_LOOKED_INTO["modifier/response-body-generator"],
        Helped(assembly.helpers, build_large_generate, settings),
        lambda request, response: (
            {name: read(request) for name, read in variables.items()},
            to_helper(response),
        ),
        finish,
    )

    def stage(branch: Branch) -> Branch:
        return wrapped(branch, after=with_generated, large=large)

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
) -> Callable[[dict[str, Any], Portable], bytes]:
    """In a helper: from what a template sees of the request, and an answer, to a body."""
    render = build_render(read_template(settings.template, settings.path))

    def generate(values: dict[str, Any], portable: Portable) -> bytes:
        seen = {"variables": settings.variables, **values, **_response_values(in_helper(portable))}
        return render(seen).encode(errors="replace")

    return generate


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
)
