"""``FC_ENABLE``, ``FC_SETTINGS`` and so on: a file is a template, rendered before it is read.

Go templates are rendered as KrakenD does it. Jinja's templates (``.j2``) are allowed, too. Both run
in Jinja's sandbox.
"""

from __future__ import annotations

import re
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
from jinja2 import (
    BaseLoader,
    Environment,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    nodes,
)
from jinja2.sandbox import SandboxedEnvironment

from ..findings import ConfigError, Finding, Findings
from ..json_types import JsonObject
from .functions import FUNCTIONS, Function, field, pairs, text_of
from .lexing import TemplateProblem
from .parsing import as_template, parse

JINJA = (".j2", ".jinja", ".jinja2")
RAISED = (
    TemplateError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    OSError,
    re.error,
)
"""The errors that functions raise for a wrong argument, besides TypeError and ValueError."""


def render(path: Path, environ: Mapping[str, str], findings: Findings) -> tuple[bytes, str]:
    """The rendered text of the template at ``path``, and the suffix for its format.

    Raises :class:`ConfigError` with the file and the line of an error.
    """
    renderer = _Renderer(environ, findings)
    text = renderer.render_file(path).encode(errors="replace")
    out = environ.get("FC_OUT", "")
    if out:
        _save(Path(out), text)
    suffixes = [each for each in path.suffixes if each not in (*JINJA, ".tmpl")]
    return text, Path(out).suffix or (suffixes[-1] if suffixes else "")


KINDS = {
    "NoneType": "no value (a name that is not set?)",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "a string",
}


class _Failed(Exception):
    """Carries a finding out of the templates that are being rendered."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


class _Renderer:
    """Renders one configuration, with its partials, settings and further templates."""

    def __init__(self, environ: Mapping[str, str], findings: Findings) -> None:
        self._environ = environ
        self._findings = findings
        self._partials = Path(environ.get("FC_PARTIALS", ""))
        self._settings = _read_settings(environ.get("FC_SETTINGS", ""))
        self._files = _template_files(environ.get("FC_TEMPLATES", ""))
        self._templates: dict[str, Template] = {}
        self._functions = {
            **FUNCTIONS,
            "include": self._include,
            "env": lambda name: environ.get(name, ""),
            "expandenv": self._expanded,
        }
        self._jinja = SandboxedEnvironment(
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            loader=_TemplateLoader(self._files),
        )
        self._jinja.globals.update({**self._settings, **self._functions})
        self._jinja.filters.update(_as_filters(self._functions))

    def render_file(self, path: Path) -> str:
        """Render the configuration itself; the dot is an object of all settings."""
        try:
            template = self._compile_file(path)
            self._files.setdefault(path.name, path)
            self._templates.setdefault(path.name, template)
            for each in self._files.values():  # each may define templates that others call
                if each.name not in self._templates:
                    self._templates[each.name] = self._compile_file(each)
            return self._run(template, self._settings)
        except _Failed as failed:
            raise ConfigError([*self._findings, failed.finding]) from failed

    def _compile_file(self, path: Path) -> Template:
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise _Failed(Finding(str(path), "error", f"cannot be read: {why}")) from error
        name = str(path)
        try:
            if path.suffix in JINJA:
                return self._compile(self._jinja.parse(source, filename=name), name)
            tree, defined = parse(source, self._functions)
            for each, body in defined.items():
                self._templates[each] = self._compile(as_template(body), name)
            return self._compile(tree, name)
        except TemplateProblem as problem:
            raise _Failed(_finding(name, problem.line, str(problem))) from problem
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise _Failed(_finding(name, line, error.message or "")) from error
        except RecursionError as error:
            raise _Failed(_finding(name, None, "nested too deeply")) from error

    def _compile(self, tree: nodes.Template, name: str) -> Template:
        tree.set_environment(self._jinja)
        code = self._jinja.compile(tree, name=name, filename=name)
        own = {
            **self._jinja.globals,
            "show": partial(self._show, name),
            "field": field,
            "pairs": pairs,
            "template": self._template,
        }
        return Template.from_code(self._jinja, code, own)

    def _run(self, template: Template, dot: object) -> str:
        name = template.filename or ""
        try:
            return template.render(dot=dot)
        except (TypeError, ValueError, *RAISED) as error:
            raise _Failed(_finding(name, _line_in(error, name), _text_of(error))) from error

    # The functions of templates that are not pure.

    def _show(self, file: str, value: object, text: str, line: int) -> str:
        if value is None:
            self._findings.warning(f"{file}:{line}", f"{{{{ {text} }}}} has no value")
        return text_of(value)

    def _template(self, name: str, dot: object = None) -> str:
        if name not in self._templates:
            known = ", ".join(sorted(self._templates))
            raise TemplateProblem(f'unknown template "{name}"; there are: {known}')
        return self._run(self._templates[name], dot)

    def _include(self, name: str) -> str:
        try:
            return (self._partials / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise TemplateProblem(f'the partial "{name}" cannot be read: {why}') from error

    def _expanded(self, text: str) -> str:
        names = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
        return names.sub(lambda place: self._environ.get(place[1] or place[2], ""), text)


class _TemplateLoader(BaseLoader):
    """Loads the templates of Jinja's ``include``, ``import`` and ``extends``."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        path = self._files.get(template)
        if path is None:
            raise TemplateNotFound(template)
        return path.read_text(encoding="utf-8"), str(path), None


def _as_filters(functions: Mapping[str, Function]) -> dict[str, Function]:
    """The functions as filters of Jinja, which pass the piped value first. Jinja's own filters
    keep their names."""

    def turned(function: Function) -> Function:
        return lambda value, *others: function(*others, value)

    known = SandboxedEnvironment().filters
    return {name: turned(each) for name, each in functions.items() if name not in known}


def _read_settings(folder: str) -> JsonObject:
    """Each ``*.json`` under its name. Raises ConfigError with every problem."""
    settings: JsonObject = {}
    problems = Findings()
    for path in _files_of(folder, ("*.json",), "FC_SETTINGS"):
        try:
            settings[path.stem] = msgspec.json.decode(path.read_bytes(), type=dict)
        except OSError as error:
            problems.error(str(path), f"cannot be read: {error.strerror}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problems.error(str(path), f"not an object in JSON: {error}")
    if problems.has_errors:
        raise ConfigError(problems)
    return settings


def _template_files(folder: str) -> dict[str, Path]:
    patterns = ("*.tmpl", *(f"*{suffix}" for suffix in JINJA))
    return {path.name: path for path in _files_of(folder, patterns, "FC_TEMPLATES")}


def _files_of(folder: str, patterns: tuple[str, ...], variable: str) -> list[Path]:
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise ConfigError([Finding(f"${variable}", "error", f"{folder} is not a directory")])
    return sorted(path for pattern in patterns for path in Path(folder).glob(pattern))


def _save(path: Path, text: bytes) -> None:
    """Save the rendered text, readable by its owner only: it may have secrets in it. Several
    processes may do it at the same time."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError as error:
        problem = f"cannot write {path}: {error.strerror}"
        raise ConfigError([Finding("$FC_OUT", "error", problem)]) from error


def _in_words(text: str) -> str:
    """Python's message about a value of a wrong type, without words of Python."""
    name = re.match(r"'(\w+)' object is not (iterable|callable|subscriptable)", text)
    if name is None:
        return text
    value = KINDS.get(name[1], f"a {name[1]}")
    return {
        "iterable": f"expected a list or an object to go through, found {value}",
        "callable": f"expected a function, found {value}",
        "subscriptable": f"expected a list or an object, found {value}",
    }[name[2]]


def _finding(file: str, line: int | None, text: str) -> Finding:
    return Finding(f"{file}:{line}" if line else file, "error", text)


def _line_in(error: BaseException, file: str) -> int | None:
    """The line of the template at the error: Jinja puts it into the traceback."""
    frames = [
        each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == file
    ]
    return frames[-1] if frames else None


def _text_of(error: Exception) -> str:
    """The message of an error, without values: they may be secrets."""
    if isinstance(error, TemplateProblem | TemplateError):
        return str(error)
    if isinstance(error, TypeError):
        return _in_words(str(error))
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "a function got an argument that it does not accept"
