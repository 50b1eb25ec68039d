"""Single small changes to a source file, each of which some test must notice.

What is changed: comparisons, ``and``/``or``/``not``, arithmetic, conditions (negated), constants, what is returned and
assigned, keyword arguments, ``min``/``max``, ``any``/``all``, ``break``/``continue``; and a statement that is a call,
an assignment to an attribute or item, a ``raise`` or a ``del`` is left out.

What is not: docstrings, annotations, decorators, assertions, ``__slots__`` and ``__all__``, the values of an enum, what
is logged, and texts for people, which are those of errors, f-strings, and every string with a blank in it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, str]]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}
_ARITHMETIC: Final[dict[type[ast.operator], tuple[str, str]]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
}
_NEGATED_BY_THEIR_OPERATOR: Final = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
_OPPOSITES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_TALKING: Final = {"debug", "info", "warning", "error", "exception", "critical", "warn"}
_LEFT_KEYWORDS: Final = {"name", "where", "strict"}  # labels for people; `strict` of zip() is an assertion
_MACHINERY: Final = {"TypeVar", "ParamSpec", "ContextVar", "getLogger", "namedtuple"}
_DECLARATIONS: Final = {"__all__", "__slots__"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A source file with one small change.

    Attributes:
        file: the file, from the root.
        function: the outermost function the change stands in, such as ``Flight.leave``; empty for what runs at import.
        first_line: the first line of that function, decorators included; 0 without one.
        line: the line of the change.
        start: the offset, in bytes, of what is replaced.
        end: the offset after it.
        new: what takes its place.
        text: the source without the change.
    """

    file: str
    function: str
    first_line: int
    line: int
    start: int
    end: int
    new: str
    text: str = field(repr=False)

    @property
    def changed(self) -> str:
        """The source with the change."""
        source = self.text.encode()
        return (source[: self.start] + self.new.encode() + source[self.end :]).decode()

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What a row of ``tests/mutants.toml`` knows it by."""
        return self.file, self.function, self.old_lines, self.new_lines

    @property
    def old_lines(self) -> str:
        """The lines that are changed, as they are, in one."""
        return self._lines(self.text.encode(), self.end)

    @property
    def new_lines(self) -> str:
        """The lines that are changed, as they become, in one."""
        return self._lines(self.changed.encode(), self.start + len(self.new.encode()))

    def _lines(self, source: bytes, end: int) -> str:
        first = source.rfind(b"\n", 0, self.start) + 1
        rest, _, _ = source[end:].partition(b"\n")
        return " ".join((source[first:end] + rest).decode().split())


def find_mutants(text: str, file: str) -> list[Mutant]:
    """Return every mutant of a source, in the order of the source; those that say the same stand once."""
    finder = _Finder(text, file)
    finder.visit(ast.parse(text))
    unique = {(mutant.start, mutant.end, mutant.new): mutant for mutant in finder.found}
    return [unique[place] for place in sorted(unique)]


class _Finder(ast.NodeVisitor):
    """Walks one source; ``function`` and ``first_line`` are where it stands."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.source = text.encode()
        self.starts = [0, *(match.end() for match in re.finditer(rb"\n", self.source))]
        self.function = ""
        self.first_line = 0
        self.names: list[str] = []
        self.found: list[Mutant] = []

    # ---- statements ----

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if not any(ast.unparse(base).endswith("Enum") for base in node.bases):
            self.names.append(node.name)
            self._visit_all(node.body)
            self.names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
        self.names.append(node.name)
        outermost = not self.function
        if outermost:
            self.function = ".".join(self.names)
            self.first_line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        self._visit_all(node.body)
        if outermost:
            self.function, self.first_line = "", 0
        self.names.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """An assertion states what is so anyway."""

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await):
            self._replace(node, "pass")
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assignment(node, node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and not ast.unparse(node.annotation).endswith("TypeAlias"):
            self._assignment(node, [node.target], node.value)

    def _assignment(self, node: ast.stmt, targets: list[ast.expr], value: ast.expr) -> None:
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if _DECLARATIONS.intersection(names) or (isinstance(value, ast.Call) and _called(value) in _MACHINERY):
            return
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets):
            self._replace(node, "pass")
        elif self.function and not isinstance(value, ast.Constant) and len(names) == len(targets):
            self._replace(value, "None")
        self.visit(value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, "pass")
        self._exchange(node.target, node.value, _ARITHMETIC[type(node.op)])
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            if not isinstance(node.value, ast.Constant):
                self._replace(node.value, "None")
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace(node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._visit_all(node.body)

    # ---- conditions ----

    def visit_If(self, node: ast.If) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._condition(test)
        self.generic_visit(node)

    def _condition(self, node: ast.expr) -> None:
        """Negate a condition, unless changing its operator says the same."""
        by_operator = isinstance(node, ast.UnaryOp | ast.BoolOp) or (
            isinstance(node, ast.Compare) and isinstance(node.ops[0], _NEGATED_BY_THEIR_OPERATOR)
        )
        if not by_operator:
            start, end = self._span(node)
            self._replace(node, f"(not ({self.source[start:end].decode()}))")

    def visit_Compare(self, node: ast.Compare) -> None:
        for before, after, operator in zip([node.left, *node.comparators], node.comparators, node.ops, strict=False):
            self._exchange(before, after, _COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for before, after in pairwise(node.values):
            self._exchange(before, after, ("and", "or") if isinstance(node.op, ast.And) else ("or", "and"))
        self.generic_visit(node)

    # ---- other expressions ----

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not isinstance(node.left, ast.JoinedStr) and not isinstance(node.right, ast.JoinedStr):
            self._exchange(node.left, node.right, _ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, _ = self._span(node)
        if isinstance(node.op, ast.Not | ast.USub):
            self._add(node.lineno, start, start + len("not" if isinstance(node.op, ast.Not) else "-"), "")
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        if not isinstance(node.body, ast.Constant):
            self._replace(node.body, "None")
        self.visit(node.body)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._visit_all([part.value for part in node.values if isinstance(part, ast.FormattedValue)])

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node)
        if name in _TALKING or name.endswith("Error"):
            return
        if isinstance(node.func, ast.Name) and name in _OPPOSITES:
            self._replace(node.func, _OPPOSITES[name])
        self.visit(node.func)
        chosen = {"isinstance": node.args[:1], "cast": node.args[1:]}  # classes and types are no arithmetic
        self._visit_all(chosen.get(name, node.args))
        for keyword in node.keywords:
            if keyword.arg not in _LEFT_KEYWORDS:
                if keyword.arg is not None and not isinstance(keyword.value, ast.Constant):
                    self._replace(keyword.value, "None")
                self.visit(keyword.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        match node.value:
            case bool():
                self._replace(node, repr(not node.value))
            case int():
                self._replace(node, repr(node.value + 1))
            case float():
                self._replace(node, repr(2 * node.value + 1))
            case str() if " " not in node.value:
                self._replace(node, repr(f"XX{node.value}XX"))

    # ---- writing down ----

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _exchange(self, before: ast.expr, after: ast.expr, operators: tuple[str, str]) -> None:
        """Exchange the operator between two expressions, which has no place of its own in the tree."""
        old, new = operators
        pattern = old if old[0].isalpha() else re.escape(old)
        (_, start), (end, _) = self._span(before), self._span(after)
        gap = re.sub(rb"#[^\n]*", lambda comment: b" " * len(comment[0]), self.source[start:end])
        found = re.search(pattern.encode(), gap)
        assert found is not None, f"{self.file}:{before.end_lineno}: no {old} here"
        self._add(after.lineno, start + found.start(), start + found.end(), new)

    def _replace(self, node: ast.stmt | ast.expr, new: str) -> None:
        start, end = self._span(node)
        self._add(node.lineno, start, end, new)

    def _add(self, line: int, start: int, end: int, new: str) -> None:
        self.found.append(Mutant(self.file, self.function, self.first_line, line, start, end, new, self.text))

    def _span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        """Return where a node begins and ends, in bytes."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset


def _called(node: ast.Call) -> str:
    """Return the last name of what is called: ``warning`` for ``logger.warning(...)``."""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
