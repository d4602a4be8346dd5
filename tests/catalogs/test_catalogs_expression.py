import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surveycnn.catalogs.selection.expression import FUNCTIONS, parse_condition, unknown_column
from surveycnn.catalogs.tables import numpy_to_arrow
from surveycnn.errors import CatalogError

N = 400
RNG = np.random.default_rng(5)
COLUMNS = {
    "a": RNG.normal(size=N),
    "b": np.where(RNG.random(N) < 0.1, np.nan, RNG.normal(size=N)).astype("f4"),
    "n": RNG.integers(-5, 6, N).astype("i4"),
    "flags": RNG.integers(0, 16, N).astype("i4"),
    "is_primary": RNG.random(N) < 0.5,
    "mosaic": RNG.choice(np.array(["kids", "m1", ""], dtype=object), N),
    "pz_weight": RNG.random((N, 3)).astype("f4"),
}
SCHEMA = pa.schema([pa.field(name, numpy_to_arrow(values).type) for name, values in COLUMNS.items()])


def evaluate(text):
    expression = parse_condition(text, SCHEMA)
    return expression({name: COLUMNS[name] for name in expression.columns}, N)


A, B, FLAGS, MOSAIC = COLUMNS["a"], COLUMNS["b"], COLUMNS["flags"], COLUMNS["mosaic"]
WIDE = COLUMNS["n"].astype("i8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 0.5", A > 0.5),
        ("a > 0.5 and b < 0", (A > 0.5) & (B < 0)),
        ("(a > 0.5) & (b < 0) | ~is_primary", (A > 0.5) & (B < 0) | ~COLUMNS["is_primary"]),
        ("not (a > 0 or b > 0)", ~((A > 0) | (B > 0))),
        ("-1 < a <= 0.5", (-1 < A) & (A <= 0.5)),
        ("flags & 4 == 0", (FLAGS & 4) == 0),
        ("has_flag('masked')", (FLAGS & 4) != 0),
        ("has_flag('edge') and not has_flag('truncated')", ((FLAGS & 8) != 0) & ((FLAGS & 1) == 0)),
        ("mosaic == 'kids'", MOSAIC == "kids"),
        ("mosaic in ('kids', '')", (MOSAIC == "kids") | (MOSAIC == "")),
        ("n not in [1, 2]", (WIDE != 1) & (WIDE != 2)),
        ("pz_weight[0] > pz_weight[-1]", COLUMNS["pz_weight"][:, 0] > COLUMNS["pz_weight"][:, 2]),
        ("isfinite(b) and isnan(b) == False", np.isfinite(B)),
        ("b != b", np.isnan(B)),
        ("abs(n) >= 3", np.abs(WIDE) >= 3),
        ("maximum(a, n) > minimum(1, 2)", np.maximum(A, WIDE) > 1),
        ("2 ** n > 1", np.float_power(2, WIDE) > 1),
        ("n // 2 == -1", WIDE // 2 == -1),
        ("n % 3 == 1", WIDE % 3 == 1),
        ("+n < 10000000000000", np.ones(N, bool)),
        ("n * 3000000000 > 0", WIDE > 0),
        ("1 < 2", np.ones(N, bool)),
        (" is_primary ", COLUMNS["is_primary"]),
        ("is_primary == True", COLUMNS["is_primary"]),
        ("b >= 0.9", B >= np.float32(0.9)),
    ],
)
def test_parse_condition__same_as_numpy(text, expected):
    assert np.array_equal(evaluate(text), expected)


def test_parse_condition__invalid_arithmetic_is_nan_without_a_warning():
    with np.errstate(all="ignore"):
        expected = np.log10(A) / (WIDE - WIDE) + np.sqrt(A) > 0
    assert np.array_equal(evaluate("log10(a) / (n - n) + sqrt(a) > 0"), expected)


def test_parse_condition__lists_its_columns():
    assert parse_condition("b > a and has_flag('edge') and b < 1", SCHEMA).columns == ("b", "a", "flags")


NUMBERS = st.recursive(
    st.sampled_from(["a", "b", "n", "pz_weight[1]", "1.5", "2"]),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner) | st.builds("abs({})".format, inner),
    max_leaves=5,
)
CONDITIONS = st.recursive(
    st.builds("({} {} {})".format, NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["&", "|"]), inner) | st.builds("(~{})".format, inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150)
@given(CONDITIONS)
@example("((a < a) | ((b + 1.5) < (b + abs(1.5))))")
def test_parse_condition__any_tree_same_as_numpy(text):
    namespace = {name: values.astype("i8") if values.dtype.kind == "i" else values.T for name, values in COLUMNS.items()}
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on ~ of a comparison of constants
            # the test's own text, never a user's; Python's abs, as np.abs would give a constant a precision of its own
            expected = eval(text, {"__builtins__": {}, "abs": abs, **namespace})
    except ZeroDivisionError:  # of constants
        return
    if np.asarray(expected).dtype == bool:  # ~ of a comparison of constants is a number in Python
        assert np.array_equal(evaluate(text), np.broadcast_to(expected, (N,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a >", "cannot be read: invalid syntax"),
        ("", "cannot be read"),
        ("a > 1; b", "cannot be read"),
        ("a \x00", "cannot be read"),
        ("a = 1", "cannot be read"),
        ("a", "gives a number, expected true or false"),
        ("flags & 4", "gives a whole number, expected true or false"),
        ("mosaic", "gives text, expected true or false"),
        ("is_primry", "no column 'is_primry': did you mean 'is_primary"),
        ("qqqq > 1", "no column 'qqqq': there are a, b, n, flags"),
        ("pz_weight > 1", r"has 3 values per row: write pz_weight\[0\]"),
        ("pz_weight[3] > 1", "out of range: it has values 0 to 2"),
        ("pz_weight[a] > 1", "an index is column"),
        ("pz_weight[0:1] > 1", "an index is column"),
        ("a[0] > 1", "has one value per row: leave out the index"),
        ("a + is_primary > 1", "'is_primary' is true or false, expected a number"),
        ("mosaic > 1", "is text and '1' is a whole number: compare like with like"),
        ("is_primary == 1", "compare like with like"),
        ("a and b", "'a' is a number, expected true or false"),
        ("not a", "'a' is a number, expected true or false"),
        ("~a > 1", "~ needs a condition or a whole number"),
        ("a > 0 & b < 1", "reads as .0 & b. first"),
        ("(a > 1) & b", "joins true or false and a number: & and | bind more tightly"),
        ("n > 0 & n < 1", "reads as '0 & n' first"),
        ("a << 1 > 0", "arithmetic is"),
        ("a is None", "'is' is not understood"),
        ("a > None", "constants are numbers, text, True, False"),
        ("a > b'x'", "constants are numbers, text, True, False"),
        ("n > 99999999999999999999", "does not fit into 64 bits"),
        ("mosaic in 'kids'", "write a list such as"),
        ("mosaic in ()", "write a list such as"),
        ("open('x') > 1", "function 'open' is not understood: there are abs"),
        ("a.b > 1", "'a.b' is not understood"),
        ("a.sum() > 1", "function 'a.sum' is not understood"),
        ("(lambda: 1)() > 1", "is not understood"),
        ("[x for x in (1, 2)] > 1", "is not understood"),
        ("a if b else n", "is not understood"),
        ("f'{a}' == 'x'", "is not understood"),
        ("__import__('os').system('x') == 0", "is not understood"),
        ("abs(a, b) > 1", r"abs takes 1 argument\(s\), found 2"),
        ("abs(x=a) > 1", "function 'abs' is not understood"),
        ("sqrt(mosaic) > 1", "'mosaic' is text, expected a number"),
        ("has_flag('edgy')", "no flag 'edgy': there are truncated, blended"),
        ("has_flag(a)", "no flag a: there are"),
        ("not " * 5000 + "is_primary", "nested too deeply|cannot be read"),
        ("(" * 5000 + "a" + ")" * 5000 + " > 1", "nested too deeply|cannot be read"),
    ],
)
def test_parse_condition__not_understood(text, message):
    with pytest.raises(CatalogError, match=message):
        parse_condition(text, SCHEMA)


def test_parse_condition__flag_needs_the_column():
    with pytest.raises(CatalogError, match="no column 'flags'"):
        parse_condition("has_flag('edge')", pa.schema([("a", pa.float64())]))


def test_unknown_column__part_of_a_name():
    assert "did you mean 'lens_probability" in str(unknown_column("prob", ["ra", "lens_probability"]))


def test_functions__each_works_on_numbers():
    for name in set(FUNCTIONS) - {"has_flag", "minimum", "maximum", "isfinite", "isnan"}:
        assert evaluate(f"isfinite({name}(a)) or not isfinite({name}(a))").all()
