"""Jinja2: compiles a template to a function of variables. The only user of the library.

The operator writes templates, clients and backends determine variables. Variables are plain values,
and the sandbox gives templates access to nothing else.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..core.large import MIN_VALUE_BYTES
from ..encoding import encode_json
from ..errors import ModifierFailure

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.nodes import Node

Render: TypeAlias = Callable[[Mapping[str, object]], str]
"""Raises :class:`gateway.errors.ModifierFailure`."""

LISTS = frozenset({"req_headers", "req_querystring", "resp_headers"})
"""Variables with up to 1,000 or 2,000 values, which the size of a body does not bound."""
NO_BODY = -1
"""A bound in bytes that every body exceeds, also an empty one."""
MAX_ITERATIONS = 10_000
"""Iterations of the innermost loop on the event loop: 20 ms at most. Measured at worst: 2 us for
each."""


@cache
def _environment() -> Environment:
    from jinja2 import ChainableUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class TemplateSandbox(ImmutableSandboxedEnvironment):
        """A key of a document has precedence over a method of Python's dictionaries."""

        def getattr(self, obj: object, attribute: str) -> object:
            if isinstance(obj, dict) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

    def to_json(value: object) -> str:
        return encode_json(None if isinstance(value, ChainableUndefined) else value).decode()

    environment = TemplateSandbox(
        autoescape=False,  # a body is not HTML
        undefined=ChainableUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["tojson"] = to_json
    return environment


def read_template(template: str, path: str) -> str:
    """The template in the configuration, as plain text or in base64, or in the file at ``path``.

    Raises OSError or ValueError when the file cannot be read.
    """
    if path:
        return Path(path).read_text(encoding="utf-8")
    try:
        return b64decode(template, validate=True).decode()
    except ValueError:
        return template


def template_problem(text: str) -> str:
    """Why a template cannot be used; empty when it can."""
    from jinja2 import TemplateSyntaxError
    from jinja2.meta import find_referenced_templates

    environment = _environment()
    try:
        parsed = environment.parse(text)
        environment.compile(parsed)
    except TemplateSyntaxError as error:
        return (
            f"line {error.lineno}: {error.message} (expected a Jinja2 template, not a Go template)"
        )
    except RecursionError:
        return "nested too deeply"
    return "it refers to another template" if any(find_referenced_templates(parsed)) else ""


def max_inline_bytes(text: str, limit: int) -> int:
    """The largest body, in bytes, for which a template is rendered on the event loop.

    It is ``limit``, or less where loops are nested, since each may iterate over the whole body; a
    macro counts as if it were called in the innermost loop. :data:`NO_BODY` where nested loops may
    iterate over lists of a request, which are long even with a small body. For a template without
    problems.
    """
    from jinja2.nodes import Macro, Name

    parsed = _environment().parse(text)
    depth = _loop_depth(parsed) + sum(map(_loop_depth, parsed.find_all(Macro)))
    if depth < 2:
        return limit
    if any(name.name in LISTS for name in parsed.find_all(Name)):
        return NO_BODY
    return min(limit, MIN_VALUE_BYTES * int(MAX_ITERATIONS ** (1 / depth)))


def _loop_depth(node: Node) -> int:
    from jinja2.nodes import For

    inner = max(map(_loop_depth, node.iter_child_nodes()), default=0)
    return inner + isinstance(node, For)


def build_render(text: str) -> Render:
    """For a template without problems."""
    render = _environment().from_string(text).render

    def rendered(variables: Mapping[str, object]) -> str:
        try:
            result: str = render(variables)
        except Exception as error:  # a template may raise any exception
            raise ModifierFailure(f"template: {error}") from error
        return result

    return rendered
