"""Translates Go templates into Jinja's syntax trees, so that one engine runs both. Pure.

Go's variables (``$x``, the dot) have lexical scope. Each becomes an attribute of one namespace,
with a unique name, so that an assignment in a loop is kept after the loop, as in Go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from jinja2 import nodes

from .lexing import LexToken, Piece, TemplateProblem, literal, pieces

SCOPE = "scope"
"""The name of the template's namespace in Jinja."""
KEYWORDS = (
    "if",
    "range",
    "with",
    "else",
    "end",
    "template",
    "define",
    "block",
    "break",
    "continue",
)

Body = list[nodes.Node]
Scope = dict[str, str]


def parse(source: str, functions: Iterable[str]) -> tuple[nodes.Template, dict[str, Body]]:
    """The tree, and the bodies of the templates that it defines. Raises TemplateProblem.

    ``functions``: the names of the functions that the template may call.
    """
    parser = _Parser(list(pieces(source)), frozenset(functions))
    body, end, _ = parser.body({"$": "dot", ".": "dot"})
    if end:
        raise TemplateProblem(f'"{end}" without "if", "with" or "range"', parser.line)
    return as_template(body), parser.defined


def as_template(body: Body) -> nodes.Template:
    """A complete template: first it makes its namespace, with its argument as the dot."""
    scope = nodes.Call(_name("namespace"), [], [nodes.Keyword("dot", _name("dot"))], None, None)
    begin = nodes.Assign(nodes.Name(SCOPE, "store"), scope)
    return nodes.Template([begin, *body], lineno=1)


class _Parser:
    def __init__(self, parts: list[Piece], functions: frozenset[str]) -> None:
        self._parts = parts
        self._functions = functions
        self._at = 0
        self._count = 0
        self._loops = 0
        self.defined: dict[str, Body] = {}
        self.line = 1

    def body(self, scope: Scope) -> tuple[Body, str, _Action]:
        """The nodes up to "end" or "else", which are returned, or to the end of the template."""
        scope = dict(scope)
        found: Body = []
        while self._at < len(self._parts):
            part = self._parts[self._at]
            self._at += 1
            self.line = part.line
            if part.tokens is None:
                text = nodes.TemplateData(part.text, lineno=part.line)
                found.append(nodes.Output([text], lineno=part.line))
                continue
            action = _Action(part.tokens, part.line, self._functions, scope)
            keyword = action.keyword()
            if keyword in ("end", "else"):
                return found, keyword, action
            build = self._build(keyword)
            found += build(action, scope)
            action.expect_end()
        return found, "", _Action([], self.line, self._functions, scope)

    def _build(self, keyword: str) -> Callable[[_Action, Scope], Body]:
        table: Mapping[str, Callable[[_Action, Scope], Body]] = {
            "if": self._if,
            "with": self._with,
            "range": self._range,
            "template": self._template,
            "define": self._define,
            "block": self._block,
            "break": self._leave_loop,
            "continue": self._leave_loop,
            "": self._output,
        }
        return table[keyword]

    def _output(self, action: _Action, scope: Scope) -> Body:
        name, kind = action.variable()
        if name:
            value = action.pipeline()
            return [self._set(name, kind, value, scope, action)]
        about = [nodes.Const(action.text()), nodes.Const(action.line)]
        shown = action.call("show", [action.pipeline(), *about])
        return [nodes.Output([shown], lineno=action.line)]

    def _if(self, action: _Action, scope: Scope) -> Body:
        return self._choice(action, scope, has_dot=False)

    def _with(self, action: _Action, scope: Scope) -> Body:
        return self._choice(action, scope, has_dot=True)

    def _choice(self, action: _Action, scope: Scope, has_dot: bool) -> Body:
        """ "if" or "with", and the "else if" or "else with" after it."""
        inner = dict(scope)
        name, _ = action.variable()
        value = action.pipeline()
        action.expect_end()
        before: Body = []
        if name or has_dot:
            place = self._fresh(name or "dot")
            before.append(self._store(place, value, action))
            if name:
                inner[name] = place
            value = self._load(place, action)
            if has_dot:
                inner["."] = place
        then, end, ending = self.body(inner)
        otherwise: Body = []
        if end == "else":
            otherwise = self._else(ending, {**inner, ".": scope["."]}, action)
        elif not end:
            raise TemplateProblem('"end" is missing', action.line)
        return [*before, nodes.If(value, then, [], otherwise, lineno=action.line)]

    def _else(self, ending: _Action, scope: Scope, opening: _Action) -> Body:
        chained = ending.keyword()
        if chained in ("if", "with"):
            ending.scope = scope
            return self._choice(ending, scope, has_dot=chained == "with")
        ending.expect_end()
        body, end, _ = self.body(scope)
        if end != "end":
            raise TemplateProblem('"end" is missing', opening.line)
        return body

    def _range(self, action: _Action, scope: Scope) -> Body:
        inner = dict(scope)
        names = action.range_variables()
        value = action.pipeline()
        action.expect_end()
        inner["."] = self._fresh("dot")
        stores: Body = [self._store(inner["."], _name("item"), action)]
        for name, source in zip(
            names, ("key", "item") if len(names) == 2 else ("item",), strict=False
        ):
            inner[name] = self._fresh(name)
            stores.append(self._store(inner[name], _name(source), action))
        self._loops += 1
        body, end, ending = self.body(inner)
        self._loops -= 1
        otherwise: Body = []
        if end == "else":
            otherwise = self._else(ending, scope, action)
        elif not end:
            raise TemplateProblem('"end" is missing', action.line)
        target = nodes.Tuple([nodes.Name("key", "store"), nodes.Name("item", "store")], "store")
        pairs = action.call("pairs", [value])
        return [nodes.For(target, pairs, stores + body, otherwise, None, False, lineno=action.line)]

    def _leave_loop(self, action: _Action, scope: Scope) -> Body:
        if not self._loops:
            raise TemplateProblem(f"{action.text()} outside of a range", action.line)
        kind = nodes.Break if action.text() == "break" else nodes.Continue
        return [kind(lineno=action.line)]

    def _template(self, action: _Action, scope: Scope) -> Body:
        name = action.string("the name of a template")
        given = action.pipeline() if action.has_more else nodes.Const(None)
        call = action.call("template", [nodes.Const(name), given])
        return [nodes.Output([call], lineno=action.line)]

    def _define(self, action: _Action, scope: Scope) -> Body:
        name = action.string("the name of a template")
        action.expect_end()
        body, end, _ = self.body({"$": "dot", ".": "dot"})
        if end != "end":
            raise TemplateProblem('"end" is missing', action.line)
        self.defined[name] = body
        return []

    def _block(self, action: _Action, scope: Scope) -> Body:
        name = action.string("the name of a template")
        given = action.pipeline()
        opening = _Action(
            [LexToken("string", f"`{name}`", action.line)], action.line, self._functions, scope
        )
        self._define(opening, scope)
        call = action.call("template", [nodes.Const(name), given])
        return [nodes.Output([call], lineno=action.line)]

    # The namespace.

    def _set(
        self, name: str, kind: str, value: nodes.Expr, scope: Scope, action: _Action
    ) -> nodes.Node:
        if kind == "declare":
            scope[name] = self._fresh(name)
        elif name not in scope:
            raise TemplateProblem(f"unknown variable {name}", action.line)
        return self._store(scope[name], value, action)

    def _fresh(self, name: str) -> str:
        self._count += 1
        return f"v{self._count}_{name.strip('$')}"

    def _store(self, place: str, value: nodes.Expr, action: _Action) -> nodes.Node:
        return nodes.Assign(nodes.NSRef(SCOPE, place), value, lineno=action.line)

    def _load(self, place: str, action: _Action) -> nodes.Expr:
        return nodes.Getattr(_name(SCOPE), place, "load", lineno=action.line)


class _Action:
    """One "{{ ... }}", read from left to right."""

    def __init__(
        self, tokens: list[LexToken], line: int, functions: frozenset[str], scope: Scope
    ) -> None:
        self._tokens = tokens
        self._at = 0
        self._functions = functions
        self.scope = scope
        self.line = line

    @property
    def has_more(self) -> bool:
        return self._at < len(self._tokens)

    def text(self) -> str:
        return "".join((" " if each.is_apart else "") + each.text for each in self._tokens).strip()

    def keyword(self) -> str:
        """Take the next token if it is a keyword; else return an empty string."""
        token = self._next("word")
        if token is None or token.text not in KEYWORDS:
            return ""
        self._at += 1
        return token.text

    def variable(self) -> tuple[str, str]:
        """Take ``$x :=`` or ``$x =``: the name, and "declare" or "assign"."""
        second = self._tokens[self._at + 1 : self._at + 2]
        token = self._next("variable")
        if token is None or not second or second[0].kind not in ("declare", "assign"):
            return "", ""
        self._at += 2
        return token.text, second[0].kind

    def range_variables(self) -> list[str]:
        kinds = [token.kind for token in self._tokens[self._at : self._at + 4]]
        if kinds[:2] == ["variable", "declare"]:
            return [self.variable()[0]]
        if kinds == ["variable", "mark", "variable", "declare"]:
            first = self._tokens[self._at].text
            self._at += 2
            return [first, self.variable()[0]]
        return []

    def string(self, what: str) -> str:
        token = self._next("string")
        if token is None:
            raise TemplateProblem(f"expected {what} in quotes", self.line)
        self._at += 1
        return str(literal(token))

    def expect_end(self) -> None:
        if self.has_more:
            token = self._tokens[self._at]
            raise TemplateProblem(f"not understood: {token.text}", token.line)

    def pipeline(self) -> nodes.Expr:
        """Commands between "|". The result of each is the last argument of the next one."""
        value = self._command(None)
        while self._takes("|"):
            value = self._command(value)
        return value

    def _command(self, piped: nodes.Expr | None) -> nodes.Expr:
        token = self._next("word")
        if token is not None and token.text not in ("true", "false", "nil"):
            self._at += 1
            arguments = []
            while self.has_more and not self._is_mark("|", ")"):
                arguments.append(self._operand())
            if piped is not None:
                arguments.append(piped)
            return self._function(token, arguments)
        operand = self._operand()
        if piped is not None or (self.has_more and not self._is_mark("|", ")")):
            raise TemplateProblem("only a function has arguments", self.line)
        return operand

    def _operand(self) -> nodes.Expr:
        token = self._tokens[self._at] if self.has_more else None
        if token is None:
            raise TemplateProblem("the action ends too early", self.line)
        self._at += 1
        value = self._term(token)
        while (field := self._next("field")) is not None and not field.is_apart:
            self._at += 1
            value = self.call("field", [value, nodes.Const(field.text[1:])])
        return value

    def _term(self, token: LexToken) -> nodes.Expr:
        constants = {"true": True, "false": False, "nil": None}
        if token.kind in ("string", "char", "number"):
            return nodes.Const(literal(token), lineno=token.line)
        if token.kind == "dot":
            return self._place(".", token)
        if token.kind == "field":
            return self.call("field", [self._place(".", token), nodes.Const(token.text[1:])])
        if token.kind == "variable":
            return self._place(token.text, token)
        if token.text in constants:
            return nodes.Const(constants[token.text], lineno=token.line)
        if token.kind == "word":
            return self._function(token, [])
        if token.text == "(":
            value = self.pipeline()
            if not self._takes(")"):
                raise TemplateProblem('a ")" is missing', self.line)
            return value
        raise TemplateProblem(f"not understood: {token.text}", token.line)

    def _place(self, name: str, token: LexToken) -> nodes.Expr:
        if name not in self.scope:
            raise TemplateProblem(f"unknown variable {name}", token.line)
        return nodes.Getattr(_name(SCOPE), self.scope[name], "load", lineno=token.line)

    def _function(self, token: LexToken, arguments: list[nodes.Expr]) -> nodes.Expr:
        """A call. ``and`` and ``or`` evaluate only the arguments that decide the result."""
        joins: dict[str, type[nodes.BinExpr]] = {"and": nodes.And, "or": nodes.Or}
        if token.text in joins and arguments:
            value = arguments[0]
            for argument in arguments[1:]:
                value = joins[token.text](value, argument, lineno=token.line)
            return value
        if token.text not in self._functions:
            raise TemplateProblem(f"unknown function {token.text}", token.line)
        return self.call(token.text, arguments)

    def call(self, name: str, arguments: Sequence[nodes.Expr]) -> nodes.Expr:
        return nodes.Call(_name(name), [*arguments], [], None, None, lineno=self.line)

    def _next(self, kind: str) -> LexToken | None:
        token = self._tokens[self._at] if self.has_more else None
        return token if token is not None and token.kind == kind else None

    def _is_mark(self, *marks: str) -> bool:
        token = self._next("mark")
        return token is not None and token.text in marks

    def _takes(self, mark: str) -> bool:
        is_next = self._is_mark(mark)
        self._at += is_next
        return is_next


def _name(name: str) -> nodes.Name:
    return nodes.Name(name, "load")
