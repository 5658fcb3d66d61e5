import copy
import math
import operator
import pickle
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgrad.errors import RuleError
from flowgrad.rules import Condition, UnknownNameError

NAN, INF = math.nan, math.inf
NAMES = ("a", "b", "zombie_share", "median_velocity")


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a > 1", {"a": 2}, True),
        ("a > 1", {"a": 1}, False),
        ("a >= 1", {"a": 1}, True),
        ("0 < a < 1", {"a": 0.5}, True),
        ("0 < a < 1", {"a": 1.5}, False),
        ("a == 1 or b != 2", {"a": 0, "b": 2}, False),
        ("not a > 1", {"a": 0}, True),
        ("not (a > 1 and b > 1)", {"a": 2, "b": 0}, True),
        ("a - b * 2 > -1.5", {"a": 1, "b": 1}, True),
        ("-a / b < 0", {"a": 1, "b": 2}, True),
        ("True", {}, True),
        ("not True or a > 0", {"a": 1}, True),
        ("  a > 1\n  and b > 1\n", {"a": 2, "b": 2}, True),
        ("a == 1e5", {"a": 100_000.0}, True),
        ("a < 1" + "0" * 300, {"a": 1}, True),
        # Division by zero is an infinity, or unknown for 0/0.
        ("a / b > 1", {"a": 1, "b": 0}, True),
        ("a / b < -1", {"a": -1, "b": 0}, True),
        ("a / b > 1", {"a": 0, "b": 0}, False),
        ("not a / b > 1", {"a": 0, "b": 0}, False),
        ("1 / 0 > a", {"a": 5}, True),
        # Kleene: unknown is neither true nor false, and does not hold at the top.
        ("a > 1", {"a": NAN}, False),
        ("not a > 1", {"a": NAN}, False),
        ("a != 1", {"a": NAN}, False),
        ("a == a", {"a": NAN}, False),
        ("not (a != 1)", {"a": NAN}, False),
        ("a > 1 or b > 1", {"a": NAN, "b": 2}, True),
        ("a > 1 and b > 1", {"a": NAN, "b": 2}, False),
        ("not (a > 1 and b > 1)", {"a": NAN, "b": 0}, True),
        ("not (a > 1 or b > 1)", {"a": NAN, "b": 0}, False),
        ("0 < a < b", {"a": 1}, False),
        ("not (0 < a < b)", {"a": -1}, True),
        ("a > 1", {}, False),
        ("a > 1 or not a > 1", {}, False),
    ],
)
def test_holds(text, values, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Condition.parse(text, NAMES).holds(values) is expected


REFUSED = [
    ("", "is empty"),
    (" \n ", "is empty"),
    ("a.real > 1", "'a.real' at column 1 is not allowed"),
    ("a > 1 and a.__class__ > 1", "'a.__class__' at column 11"),
    ("abs(a) > 1", "'abs(a)' at column 1"),
    ("__import__('os').system('true')", "at column 1 is not allowed"),
    ("a > __import__('os')", "\"__import__('os')\" at column 5"),
    ("(lambda: a)() > 1", "at column 1"),
    ("lambda: a", "'lambda: a' at column 1"),
    ("[x for x in a] > 1", "at column 1"),
    ("{x for x in a} > 1", "at column 1"),
    ("a[0] > 1", "'a[0]' at column 1"),
    ("(a, b) > 1", "at column 1"),
    ("[a] > 1", "'[a]' at column 1"),
    ("{} > 1", "'{}' at column 1"),
    ("'text' > a", "\"'text'\" at column 1"),
    ("'text'", "\"'text'\" at column 1"),
    ("b'x' > a", "at column 1"),
    ("f'{a}' > a", "at column 1"),
    ("1j > a", "'1j' at column 1"),
    ("None", "'None' at column 1"),
    ("... > a", "'...' at column 1"),
    ("9**9**9 > a", "uses the operator '**'"),
    ("9**9**9**9**9", "uses the operator '**'"),
    ("1 << 999999999 > a", "uses the operator '<<'"),
    ("a > 1 << 9", "'1 << 9' at column 5 uses the operator '<<'"),
    ("a % 2 > 1", "uses the operator '%'"),
    ("a // 2 > 1", "uses the operator '//'"),
    ("a @ b > 1", "uses the operator '@'"),
    ("(a > 1) & (b > 1)", "uses the operator '&'"),
    ("(a > 1) | (b > 1)", "uses the operator '|'"),
    ("a ^ b > 1", "uses the operator '^'"),
    ("~a > 1", "uses the operator '~'"),
    ("+a > 1", "uses the operator '+'"),
    ("a is 1", "uses the operator 'is'"),
    ("a is not 1", "uses the operator 'is not'"),
    ("a in (1, 2)", "uses the operator 'in'"),
    ("a not in b", "uses the operator 'not in'"),
    ("(x := 1) > a", "'x := 1' at column 2"),
    ("a > 1 if b > 1 else True", "at column 1 is not allowed"),
    ("await a", "at column 1"),
    ("(yield a)", "at column 2"),
    ("*a > 1", "column 1"),
    # Types do not mix.
    ("zombie_share + 1", "'zombie_share + 1' at column 1 is a number where true or false is needed"),
    ("zombie_share", "'zombie_share' at column 1 is a number"),
    ("-a", "'-a' at column 1 is a number"),
    ("1", "'1' at column 1 is a number"),
    ("a and 1", "'a' at column 1 is a number"),
    ("a > 1 and 1", "'1' at column 11 is a number"),
    ("not a", "'a' at column 5 is a number"),
    ("True + 1", "'True' at column 1 is true or false where a number is needed"),
    ("True > 0", "'True' at column 1 is true or false"),
    ("-True > 0", "'True' at column 2 is true or false"),
    ("(a > b) > 1", "'a > b' at column 2 is true or false"),
    ("a > (not b > 1)", "at column 6 is true or false"),
    ("a + (a > b and b > a) > 1", "at column 6 is true or false"),
    # Not Python either.
    ("a >", "does not parse at column 4, near 'its end'"),
    ("a > > 1", "does not parse at column 5, near '> 1'"),
    ("  a > > 1", "does not parse at column 7"),
    ("a = 1", "does not parse at column 3, near '= 1'"),
    ("a > 1; import os", "does not parse at column 6"),
    ("import os", "does not parse at column 1"),
    ("a) or (b > 1", "does not parse at column 2"),
    ("1and a > 1", "does not parse"),
    ("a > 1 \\\n and b > 1", "does not parse"),
    # Characters.
    ("a > 1\0", r"'\x00' at column 6"),
    ("a ≥ 1", "'≥' at column 3"),
    ("ａ > 1", "'ａ' at column 1"),
    ("a > 1 # high\n and b > 1", "'#' at column 7"),
    ("a > 1\u2028and b > 1", "column 6"),
    # Sizes.
    ("a > 1e999", "'1e999' at column 5 is too large"),
    ("a > " + "9" * 400, "at column 5 is too large"),
    ("a > 0x" + "f" * 400, "at column 5 is too large"),
    ("a > " + "9" * 10_000, "10004 characters long; at most 500"),
    ("(" * 240 + "a > 1" + ")" * 240, "too many nested parentheses"),
    ("(" * 480, "does not parse"),
    ("(" * 1_000_000, "characters long"),
    ("-" * 490 + "a > 1", "nested"),
    ("not " * 120 + "a > 1", "nested more than 40 levels"),
    ("+".join("a" * 100) + " > 1", "nested more than 40 levels"),
    ("[" * 490, "does not parse"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=lambda value: repr(value)[:40])
def test_refused_with_the_piece_and_its_column(text, message):
    start = time.perf_counter()
    with pytest.raises(RuleError) as refusal:
        Condition.parse(text, (*NAMES, "x", "os"))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert time.perf_counter() - start < 1


def test_parentheses_alone_are_no_nesting():
    assert Condition.parse("(" * 100 + "a" + ")" * 100 + " > 1", NAMES).holds({"a": 2})


@given(st.text(max_size=60) | st.text("ab01.<>=!+-*/()[]{}'\\ \n:,%&|~^#notadr", max_size=60))
def test_any_text_parses_or_is_a_rule_error(text):
    try:
        condition = Condition.parse(text, NAMES)
    except RuleError:
        return
    assert condition.holds({}) in (True, False)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("zombie_shar > 1", "zombie_shar", "unknown name 'zombie_shar' at column 1; did you mean 'zombie_share'?"),
        ("a > 1\n and zombi_share > 1", "zombi_share", "at column 12; did you mean 'zombie_share'?"),
        ("qqqqqq > 1", "qqqqqq", "at column 1; known: a, b, zombie_share, median_velocity"),
        ("qqqqqq", "qqqqqq", "unknown name 'qqqqqq' at column 1"),
        ("True > 0 or os > 1", None, "'True' at column 1"),
        ("__builtins__ > 1", "__builtins__", "unknown name"),
    ],
)
def test_unknown_names_get_a_suggestion(text, name, message):
    with pytest.raises(RuleError) as refusal:
        Condition.parse(text, iter(NAMES))
    assert message in str(refusal.value)
    assert getattr(refusal.value, "name", None) == name
    assert isinstance(refusal.value, UnknownNameError) is (name is not None)


def test_no_known_names_at_all():
    with pytest.raises(UnknownNameError, match=r"unknown name 'a' at column 1$"):
        Condition.parse("a > 1", ())


def test_text_names_equality_and_copies():
    condition = Condition.parse("b > a and b < 1", NAMES)
    assert condition.text == "b > a and b < 1"
    assert condition.names == ("b", "a")
    assert condition == Condition.parse("b > a and b < 1", ["b", "a"]) != Condition.parse("b > a", NAMES)
    assert "ast" not in repr(condition)
    for twin in (copy.deepcopy(condition), pickle.loads(pickle.dumps(condition))):
        assert twin == condition
        assert hash(twin) == hash(condition)
        assert twin.holds({"a": 0, "b": 0.5})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 0.25", {"a": 0.25}),
        ("0.25 < a", {"a": 0.25}),
        ("a < -0.5 and b == --2", {"a": -0.5, "b": 2.0}),
        ("0.1 < a < 0.5", {"a": 0.1}),
        ("b > 3 or a > 1 or b > 4", {"b": 3.0, "a": 1.0}),
        ("not (a > 1)", {"a": 1.0}),
        ("a > b", {}),
        ("a + 1 > 2", {}),
        ("a > 2 * 3", {}),
        ("True", {}),
    ],
)
def test_thresholds_are_the_numbers_compared_with_directly(text, expected):
    assert Condition.parse(text, NAMES).thresholds() == expected


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a > 3 or a < 0.5", {"a": 0.1}, {"a": 0.5}),
        ("a > 3 or a < 0.5", {"a": 4.0}, {"a": 3.0}),
        ("a > 3 or a < 0.5", {"a": 1.0}, {"a": 3.0}),
        ("a > 3 or a < 0.5", {}, {"a": 3.0}),
        ("a > 8 or b == 0 and (b >= 2 or a > 5)", {"a": 6.0, "b": 0.0}, {"a": 5.0, "b": 0.0}),
    ],
)
def test_of_several_thresholds_the_one_that_was_passed_is_told(text, values, expected):
    """A finding that a second, lower threshold made was shown with the first, which its figure had not reached."""
    assert Condition.parse(text, NAMES).thresholds(values) == expected


def test_select_goes_over_rows_and_scalars():
    columns = {"a": pd.Series([1, 2, 3], index=[7, 8, 9]), "b": 2}
    assert Condition.parse("a >= b", NAMES).select(columns).tolist() == [False, True, True]
    assert Condition.parse("b > 1", NAMES).select(columns).tolist() == [True] * 3
    assert Condition.parse("True", NAMES).select(columns).tolist() == [True] * 3
    assert Condition.parse("a > 1", NAMES).select({"a": []}).tolist() == []
    assert Condition.parse("a > 1", NAMES).select(columns).flags.writeable


def test_known_needs_every_name_used():
    columns = {"a": [1, NAN, 3, INF], "b": [1, 1, NAN, 1]}
    assert Condition.parse("a > 0 or b > 0", NAMES).known(columns).tolist() == [True, False, False, True]
    assert Condition.parse("a > 0", NAMES).known(columns).tolist() == [True, False, True, True]
    assert Condition.parse("a > median_velocity", NAMES).known(columns).tolist() == [False] * 4
    assert Condition.parse("True", NAMES).known(columns).tolist() == [True] * 4


# The slow plain version: nested tuples, one value at a time, None for unknown.

COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def plain_number(tree, values):
    kind, *parts = tree
    if kind == "number":
        return parts[0]
    if kind == "name":
        return values[parts[0]]
    if kind == "-x":
        return -plain_number(parts[0], values)
    left, right = (plain_number(part, values) for part in parts)
    if kind != "/":
        return {"+": operator.add, "-": operator.sub, "*": operator.mul}[kind](left, right)
    if right != 0:
        return left / right
    sign = math.copysign(1, left) * math.copysign(1, right)
    return NAN if left == 0 or math.isnan(left) else sign * INF


def plain_truth(tree, values):
    kind, *parts = tree
    if kind == "literal":
        return parts[0]
    if kind == "not":
        inner = plain_truth(parts[0], values)
        return None if inner is None else not inner
    if kind == "compare":
        first, *rest = parts
        left, links = plain_number(first, values), []
        for symbol, side in rest:
            right = plain_number(side, values)
            links.append(None if math.isnan(left) or math.isnan(right) else COMPARE[symbol](left, right))
            left = right
        return plain_all(links)
    truths = [plain_truth(part, values) for part in parts]
    if kind == "and":
        return plain_all(truths)
    inverted = plain_all([None if truth is None else not truth for truth in truths])
    return None if inverted is None else not inverted


def plain_all(truths):
    if False in truths:
        return False
    return None if None in truths else True


def written(tree):
    kind, *parts = tree
    if kind in ("number", "literal", "name"):
        return str(parts[0])
    if kind in ("not", "-x"):
        return f"({kind.removesuffix('x')} {written(parts[0])})"
    if kind == "compare":
        return "(" + written(parts[0]) + "".join(f" {symbol} {written(side)}" for symbol, side in parts[1:]) + ")"
    return "(" + f" {kind} ".join(written(part) for part in parts) + ")"


figures = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 1e300, -1e300, INF, -INF, NAN]) | st.floats(-9, 9)
numbers = st.recursive(
    st.tuples(st.just("name"), st.sampled_from("ab"))
    | st.tuples(st.just("number"), st.sampled_from([0.0, 1.0, 0.5, 2.0, 1e300])),
    lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner) | st.tuples(st.just("-x"), inner),
    max_leaves=4,
)
links = st.lists(st.tuples(st.sampled_from(sorted(COMPARE)), numbers), min_size=1, max_size=2)
truths = st.recursive(
    st.builds(lambda first, rest: ("compare", first, *rest), numbers, links)
    | st.tuples(st.just("literal"), st.booleans()),
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), inner, inner, inner)
        | st.tuples(st.sampled_from(["and", "or"]), inner, inner)
        | st.tuples(st.just("not"), inner)
    ),
    max_leaves=5,
)


@given(truths, st.lists(st.tuples(figures, figures), min_size=1, max_size=6))
def test_evaluation_agrees_with_a_slow_plain_version(tree, rows):
    text = written(tree)
    if len(text) > 500:
        return
    condition = Condition.parse(text, "ab")
    expected = [plain_truth(tree, {"a": a, "b": b}) is True for a, b in rows]
    assert [condition.holds({"a": a, "b": b}) for a, b in rows] == expected
    a, b = np.array(rows).T
    assert condition.select({"a": a, "b": b}).tolist() == expected


@pytest.mark.parametrize(
    ("text", "values", "turn"),
    [
        ("a > b", {"a": 3}, 3),
        ("a > 0 and (b < a * 2 or zombie_share > 1)", {"a": 3}, 6),
        ("a - 2 < a * b", {"a": 4}, 0.5),
        ("-b > a", {"a": 4}, -4),
        ("a > 0 * b", {"a": 4}, NAN),
        ("a > b", {}, NAN),
    ],
)
def test_a_comparison_turns_where_its_sides_are_equal(text, values, turn):
    found = Condition.parse(text, NAMES).turns_at("b", values)
    assert found == pytest.approx(turn, nan_ok=True)


def test_rows_turn_each_where_it_does():
    turns = Condition.parse("a * b > zombie_share", NAMES).turns_at("b", {"a": np.array([1, 2, 0]), "zombie_share": 4})
    np.testing.assert_array_equal(turns, [4, 2, NAN])
