"""Jinja2: from a template to a function of variables. The one place that knows the library.

Templates are the operator's, variables are anybody's: they are plain values, and the sandbox keeps
templates to them.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from ..core.large import MIN_VALUE_BYTES
from ..encoding import encode_json
from ..errors import ModifierFailure

Renderer: TypeAlias = Callable[[Mapping[str, Any]], str]
"""Raises :class:`gateway.errors.ModifierFailure`."""

Environment: TypeAlias = Any

LISTS = frozenset({"req_headers", "req_querystring", "resp_headers"})
"""What has up to 1,000 or 2,000 values, of which the size of a body says nothing."""
NONE = -1
"""Bytes of a body where every body, an empty one too, is too large."""
MAX_TURNS = 10_000
"""Of the innermost loop, on the event loop: 20 ms at most. Measured at worst: 2 us a turn."""


@cache
def _environment() -> Environment:
    from jinja2 import ChainableUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class TemplateSandbox(ImmutableSandboxedEnvironment):
        """What a document holds comes before what Python's dictionaries can do."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, dict) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

    def to_json(value: Any) -> str:
        return encode_json(None if isinstance(value, ChainableUndefined) else value).decode()

    environment = TemplateSandbox(
        autoescape=False,  # a body is not HTML
        undefined=ChainableUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["tojson"] = to_json
    return environment


def read_template(template: str, path: str) -> str:
    """The text of a template that stands in the configuration, in base64 or as it is, or in a file.

    Raises OSError or ValueError when there is none.
    """
    if path:
        return Path(path).read_text(encoding="utf-8")
    try:
        return b64decode(template, validate=True).decode()
    except ValueError:
        return template


def template_problem(text: str) -> str:
    """Why a text is no template; empty when it is one."""
    from jinja2 import TemplateSyntaxError
    from jinja2.meta import find_referenced_templates

    environment = _environment()
    try:
        parsed = environment.parse(text)
        environment.compile(parsed)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message} (Jinja2 is expected, not a template of Go's)"
    except RecursionError:
        return "nested too deeply"
    return "it needs another template" if any(find_referenced_templates(parsed)) else ""


def most_rendered(text: str, most: int) -> int:
    """The largest body, in bytes, for which a template without problems is rendered on the event
    loop: ``most``, or less where its loops are nested and each may go through the whole body. A
    macro may be called in the innermost loop. NONE: nested loops may go through lists of a request,
    however small its body is."""
    from jinja2.nodes import Macro, Name

    parsed = _environment().parse(text)
    depth = _loop_depth(parsed) + sum(map(_loop_depth, parsed.find_all(Macro)))
    if depth < 2:
        return most
    if any(name.name in LISTS for name in parsed.find_all(Name)):
        return NONE
    return min(most, MIN_VALUE_BYTES * int(MAX_TURNS ** (1 / depth)))


def _loop_depth(node: Any) -> int:
    from jinja2.nodes import For

    inner = max(map(_loop_depth, node.iter_child_nodes()), default=0)
    return inner + isinstance(node, For)


def build_render(text: str) -> Renderer:
    """For a template without problems."""
    render = _environment().from_string(text).render

    def rendered(variables: Mapping[str, Any]) -> str:
        try:
            result: str = render(variables)
        except Exception as error:  # a template is a program: anything can go wrong in it
            raise ModifierFailure(f"template: {error}") from error
        return result

    return rendered
