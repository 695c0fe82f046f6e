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

from ..encoding import encode_json
from ..errors import ModifierFailure

Render: TypeAlias = Callable[[Mapping[str, Any]], str]
"""Raises :class:`gateway.errors.ModifierFailure`."""

Environment: TypeAlias = Any


@cache
def _environment() -> Environment:
    from jinja2 import ChainableUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """What a document holds comes before what Python's dictionaries can do."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, dict) and attribute in obj:
                return obj[attribute]
            return super().getattr(obj, attribute)

    def to_json(value: Any) -> str:
        return encode_json(None if isinstance(value, ChainableUndefined) else value).decode()

    environment = Sandbox(
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


def build_render(text: str) -> Render:
    """For a template without problems."""
    render = _environment().from_string(text).render

    def rendered(variables: Mapping[str, Any]) -> str:
        try:
            result: str = render(variables)
        except Exception as error:  # a template is a program: anything can go wrong in it
            raise ModifierFailure(f"template: {error}") from error
        return result

    return rendered
