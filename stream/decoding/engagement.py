"""The rule that says which watches are positive: ``--positive 'watch_ms > 3000 and not (action == "dislike")'``.

The rule is parsed, never executed: a handful of syntax nodes are known, all others are refused. It is evaluated over
whole columns in three-valued (Kleene) logic, so that a missing value cannot make an event positive, not even
under ``not``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream.decoding.texts import as_text, numbers_of
from tidegate.errors import ExpressionError

_MAX_LENGTH = 1_000  # a person wrote it; bounds the parser's recursion
_MEND = 'Write comparisons of columns, joined by and, or, not: engagement >= 0.5, watch_ms > 3000 and action != "skip"'
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_Literal = int | float | str


@dataclass(frozen=True, slots=True)
class PositiveRule:
    """A parsed ``--positive`` rule.

    Attributes
    ----------
    text : str
    columns : tuple of str     names that the rule reads, in order of appearance

    Examples
    --------
    >>> rule = PositiveRule.parse("engagement >= 0.5 and not skipped == 1")
    >>> rule.columns
    ('engagement', 'skipped')
    >>> rule.holds({"engagement": ["0.7", "0.7", ""], "skipped": [0, None, 0]}).tolist()
    [True, False, False]
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> PositiveRule:
        """Read a rule.

        Raises
        ------
        ExpressionError
            If `text` is not made of comparisons of columns with numbers, strings or columns, joined by and, or, not.
        """
        if len(text) > _MAX_LENGTH:
            raise _refusal(f"the rule has {len(text)} characters, {_MAX_LENGTH} at most are read")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _refusal(f"{text!r} does not parse ({getattr(error, 'msg', error)})") from error
        columns: dict[str, None] = {}
        _check_condition(tree, text, columns)
        return cls(text, tuple(columns), tree)

    def holds(self, columns: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Say for each record whether it is positive. `O(n)` per comparison.

        Parameters
        ----------
        columns : mapping of pyarrow or numpy arrays
            At least those of `self.columns`, equally long. Text is read as a number where it meets one; text that
            is no number, blanks, nulls and NaN are unknown.

        Returns
        -------
        bool[n]
            False where the rule is false or unknown.

        Raises
        ------
        ExpressionError
            If a column's type cannot be compared (a date with a number, a list with anything).
        """
        arrays = {name: _as_array(columns[name]) for name in self.columns}
        outcome = pc.fill_null(_condition(self._tree, arrays), False)
        return cast(NDArray[np.bool_], outcome.to_numpy(zero_copy_only=False))


def _refusal(found: str) -> ExpressionError:
    return ExpressionError(found, _MEND, place="--positive")


def _as_array(values: Any) -> Any:
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _check_condition(node: ast.expr, text: str, columns: dict[str, None]) -> None:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _check_condition(value, text, columns)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check_condition(operand, text, columns)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARE for op in ops):
            operands = [left, *comparators]
            for operand in operands:
                _check_operand(operand, text, columns)
            if any(_literal(a) is not None and _literal(b) is not None for a, b in pairwise(operands)):
                raise _refusal(f"{_source(node, text)} compares two literals; one side must be a column")
        case _:
            raise _refusal(f"{_source(node, text)} is not a comparison (< <= > >= == !=)")


def _check_operand(node: ast.expr, text: str, columns: dict[str, None]) -> None:
    if isinstance(node, ast.Name):
        columns[node.id] = None
    elif _literal(node) is None:
        raise _refusal(f"{_source(node, text)} is neither a column's name nor a number nor a quoted string")


def _source(node: ast.expr, text: str) -> str:
    return repr(ast.get_source_segment(text.strip(), node) or text)


def _literal(node: ast.expr) -> _Literal | None:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return None if isinstance(number, bool) else -number
        case ast.Constant(value=int() | float() | str() as value):
            return None if isinstance(value, bool) else value
        case _:
            return None


def _condition(node: ast.expr, arrays: Mapping[str, Any]) -> Any:
    match node:
        case ast.BoolOp(op=op, values=values):
            join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
            return reduce(join, (_condition(value, arrays) for value in values))
        case ast.UnaryOp(operand=operand):
            return pc.invert(_condition(operand, arrays))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            operands = [left, *comparators]
            steps = zip(operands, ops, comparators, strict=False)
            return reduce(pc.and_kleene, (_comparison(a, op, b, arrays) for a, op, b in steps))
    raise AssertionError("parse() refuses every other node")


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr, arrays: Mapping[str, Any]) -> Any:
    # A quoted literal asks for text; all else, two columns too, is compared as numbers, whatever the file's types.
    is_text = any(isinstance(_literal(node), str) for node in (left, right))
    return _COMPARE[type(op)](_values(left, is_text, arrays), _values(right, is_text, arrays))


def _values(node: ast.expr, is_text: bool, arrays: Mapping[str, Any]) -> Any:
    if not isinstance(node, ast.Name):
        value = _literal(node)
        return pa.scalar(value if is_text else float(cast(float, value)))
    array = arrays[node.id]
    try:
        return as_text(array) if is_text else numbers_of(array)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise _refusal(
            f"column {node.id} holds {array.type}, which does not compare with a {'string' if is_text else 'number'}"
        ) from error
