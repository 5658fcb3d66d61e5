"""FeatureAnalyzer: what it finds where something was put in, what it does not find where nothing was."""

import math
from importlib.resources import files
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeRegressor

from flowgrad import FeatureAnalyzer, FlowGradError
from flowgrad.features import Suggestion, Term
from flowgrad.report import from_xml, validate
from flowgrad.rules import RuleBook
from flowgrad.statistics import nested_f

NAMES = ["a", "b", "c", "two words", "e", "f"]


def table(seed=0, rows=600, correlation=0.3):
    """Columns alike, one of them heavy-tailed, one positive."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, len(NAMES))) + correlation * rng.normal(size=(rows, 1))
    X[:, 4], X[:, 5] = np.exp(X[:, 4]), 1 + 9 * rng.random(rows)
    return pd.DataFrame(X, columns=NAMES), rng


def planted(seed=0, rows=600):
    X, rng = table(seed, rows)
    y = X["a"] * X["two words"] + np.sin(2 * X["b"]) + X["c"] + 0.7 * rng.normal(size=rows)
    return X, y.to_numpy()


@pytest.fixture(scope="module")
def analyzer():
    return FeatureAnalyzer(*planted(), name="demo")


def test_interactions(analyzer):
    found = analyzer.interactions(top=4)
    assert list(found.columns[:5]) == ["first", "second", "f", "p", "vif"]
    assert found.loc[0, ["first", "second"]].tolist() == ["a", "two words"]
    assert found["inclusion"].is_monotonic_decreasing
    assert len(found) == 4
    assert len(analyzer.interactions(top=99)) == 15
    pd.testing.assert_frame_equal(found, analyzer.interactions(top=4))


@pytest.mark.parametrize(
    ("kind", "first", "second", "effect"),
    [
        ("product", "a", "two words", lambda X: X["a"] * X["two words"]),
        ("square", "b", None, lambda X: X["b"] ** 2),
        ("ratio", "a", "f", lambda X: 5 * X["a"] / X["f"]),
        ("sum", "a", "b", lambda X: X["a"] + X["b"]),
        ("difference", "a", "b", lambda X: X["b"] - X["a"]),
    ],
)
def test_each_kind_is_suggested(kind, first, second, effect):
    X, rng = table(3)
    y = effect(X) + 0.5 * rng.normal(size=len(X))
    found = FeatureAnalyzer(X, y).suggest_features(kinds=(kind,))
    assert found[0].kind == kind
    assert {found[0].first, found[0].second} == {first, second}
    assert np.isfinite(found[0].values(X)).all()
    assert found[0].p < 1e-6


def test_a_divisor_keeps_away_from_0():
    X, rng = table(3)
    y = X["f"] / (X["a"].abs() + 1) + X["a"] / X["f"] + rng.normal(size=len(X)) / 9
    found = FeatureAnalyzer(X, y).suggest_features(kinds=("ratio",))
    assert found[0].name == "a / f"
    assert {suggestion.second for suggestion in found} <= {"f"}  # e nears 0, the others pass it


def test_a_term_that_the_columns_say_is_not_suggested():
    """Divided by a column that hardly moves, a column stays what it is: all candidates are left out."""
    X, rng = table(3)
    X = X[["a", "b"]].assign(still=100 + X["c"])
    y = 0.01 * X["a"] * (X["still"] - 100) + rng.normal(size=len(X)) / 100
    assert not FeatureAnalyzer(X, y).suggest_features(kinds=("ratio",))


def test_of_noise_few_terms_are_suggested_and_none_is_proven():
    """At a false discovery rate of .05, some term is suggested in about one table in twenty."""
    some, proven = 0, 0
    for seed in range(40):
        X, rng = table(seed, 300)
        y = np.sin(2 * X["b"]) + X["c"] ** 2 + rng.normal(size=300) * (1 + X["a"].abs())
        analyzer = FeatureAnalyzer(X, y, seed=seed)
        some += bool(analyzer.suggest_features(kinds=("product", "ratio")))
        proven += analyzer.prove(draws=1).verdict == "confirmed"
    assert some <= 6
    assert proven <= 2


def test_the_proof_is_a_nested_f_test_of_rows_that_did_not_choose(analyzer):
    proof = analyzer.prove(draws=5, seed=3)
    assert [s.name for s in proof.suggestions] == ["a * two words"]
    assert (proof.selected_here, proof.rows, proof.verdict) == (True, 300, "confirmed")
    # The same by hand, on the other half.
    X, y = planted()
    order = np.random.default_rng(3).permutation(len(X))
    half = X.iloc[np.sort(order[300:])].reset_index(drop=True)
    frame = half.assign(y=y[np.sort(order[300:])], term=half["a"] * half["two words"])
    curves = []
    for name in NAMES:
        z = (half[name] - half[name].mean()) / half[name].std(ddof=0)
        frame[f"{name} squared"] = z**2
        curves += [name, f"{name} squared"]
        for place, knot in enumerate(np.quantile(z, [0.25, 0.5, 0.75])):
            frame[f"{name} {place}"] = np.maximum(z - knot, 0)
            curves.append(f"{name} {place}")
    expected = nested_f(frame, "y", curves, ["term"])
    assert proof.joint.f == pytest.approx(expected.f)
    assert proof.joint.r2_adjusted_smaller == pytest.approx(expected.r2_adjusted_smaller)
    assert proof.gain == pytest.approx(expected.r2_adjusted_larger - expected.r2_adjusted_smaller)
    assert proof.gain > 0.1 > proof.control_gain
    assert len(proof.control) == 5
    assert {result.df_diff for result in proof.control} == {1}
    assert proof.p >= proof.joint.p
    assert proof.each["f"].tolist() == pytest.approx([expected.f])


def test_the_halves_share_no_row_and_follow_the_seed(analyzer):
    one, other = analyzer._table.halves(5)
    assert sorted([*one.y, *other.y]) == sorted(analyzer._table.y)
    assert analyzer.prove(draws=1, seed=1).joint != analyzer.prove(draws=1, seed=2).joint
    assert analyzer.prove(draws=3, seed=1).control == analyzer.prove(draws=3, seed=1).control


def test_groups_are_whole_and_rows_alike_prove_nothing():
    """Rows of one group on both halves let what is true of 30 groups alone pass for what is true of all: a product of
    two columns of the group, which meets the group's own level by chance, is proven in most tables where the caller
    says that each row stands alone; without a word on groups, the columns that repeat together show them.
    """
    verdicts = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(30), 40)
        X = pd.DataFrame(rng.normal(size=(30, 4))[group], columns=list("abcd")).assign(e=rng.normal(size=1200))
        y = X["e"] + rng.normal(size=30)[group] + rng.normal(size=1200)
        names = np.array([f"user {one}" for one in group])
        grouped = FeatureAnalyzer(X, y, groups=names, seed=seed)
        rows = FeatureAnalyzer(X, y, groups=np.arange(1200), seed=seed)
        untold = FeatureAnalyzer(X, y, seed=seed).prove(draws=1)
        assert untold.verdict == "inconclusive"
        assert "1,200 rows are of 30 units" in untold.reason
        one, other = grouped._table.halves(seed)
        assert not {*one.groups} & {*other.groups}
        assert len({*one.groups}) == 15
        verdicts.append([analyzer.prove(draws=1).verdict == "confirmed" for analyzer in (rows, grouped)])
    by_rows, by_groups = np.sum(verdicts, axis=0)
    assert by_rows >= 5
    assert by_groups <= 1


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2], "groups has the shape \\(2,\\); X has 600 rows"),
        ([None] + [1] * 599, "groups is missing in 1 of 600 rows"),
        ([1] * 600, "all rows are of one group; halves need two at least"),
    ],
)
def test_bad_groups(groups, message):
    with pytest.raises(FlowGradError, match=message):
        FeatureAnalyzer(*planted(), groups=groups).prove()


def test_given_terms_are_tested_on_all_rows(analyzer):
    terms = [
        Suggestion("product", "two words", "a"),
        Suggestion("square", "b"),
        Suggestion("product", "c", "e"),
        Suggestion("sum", "a", "b"),
    ]
    proof = analyzer.prove(terms)
    assert (proof.selected_here, proof.rows) == (False, 600)
    assert proof.untested == (terms[3],)
    assert proof.joint.df_diff == 3
    assert proof.each["name"].tolist() == ["two words * a", "b ^ 2", "c * e"]
    assert proof.each["verdict"].iloc[[0, 2]].tolist() == ["confirmed", "inconclusive"]
    assert (proof.each["p_adjusted"] >= proof.each["p"]).all()
    assert proof.proven[0] == terms[0]


def test_where_nothing_can_be_tested_the_proof_says_so(analyzer):
    X, rng = table(1)
    nothing = FeatureAnalyzer(X, rng.normal(size=len(X))).prove()
    sums = analyzer.prove([Suggestion("sum", "a", "b")])
    for proof in (nothing, sums):
        assert (proof.joint, proof.verdict, proof.control, len(proof.each)) == (None, "inconclusive", (), 0)
        assert math.isnan(proof.p)
        assert math.isnan(proof.gain)
    assert sums.untested[0].name == "a + b"


def test_a_term_that_says_nothing_new_has_no_figure(analyzer):
    proof = analyzer.prove([Suggestion("product", "a", "b"), Suggestion("product", "b", "a")])
    assert proof.joint.df_diff == 1
    assert proof.each["f"].isna().tolist() == [False, True]
    assert proof.each["verdict"].iloc[1] == "inconclusive"


def test_a_curve_of_the_divisor_is_no_ratio():
    """A ratio by b carries 1/b, a curve that hinges do not follow near 0: of a target of log(b) alone, ratios by b were
    proven in two tables of eight, and a given one in five.
    """
    proven, given = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = pd.DataFrame(np.exp(0.7 * rng.normal(size=(8000, 4))), columns=list("abcd"))
        y = 3 * np.log(X["b"]) + rng.normal(size=8000)
        proven += FeatureAnalyzer(X, y, seed=seed).prove(draws=1).proven
        given += FeatureAnalyzer(X, y).prove([Suggestion("ratio", "a", "b")], draws=0).proven
    assert len(proven) <= 1
    assert len(given) <= 1


@pytest.mark.parametrize("rows", [26, 34, 44])
def test_few_rows_suggest_little_in_noise(rows):
    """Each term is tested beside those before it. Of 45 products the best few explained noise without a rest where few
    rows were free, and passed with an F of infinity, in every table.
    """
    some = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(rows, 10)), rng.normal(size=rows)
        some += bool(FeatureAnalyzer(X, y).suggest_features(kinds=("product", "ratio")))
    assert some <= 4  # 1 expected; more than 4 have a probability below .003


def test_figures_that_nobody_computed_are_not_0(analyzer):
    """Where nothing was tested, the control's gain was told as 0."""
    assert math.isnan(analyzer.prove([Suggestion("sum", "a", "b")]).control_gain)


def test_a_target_with_another_index_is_taken_in_order():
    X, y = planted()
    found = FeatureAnalyzer(X.set_index(np.arange(600) + 7000), pd.Series(y)).interactions(top=1)
    assert found.loc[0, "first"] == "a"


@pytest.mark.parametrize("offset", [0, 1.6e9])
def test_whole_numbers_and_timestamps(offset):
    X, y = planted()
    given = (offset + 1000 * X).round().astype("int64")
    assert FeatureAnalyzer(given, pd.Series(y)).prove(draws=1).proven[0].name == "a * two words"


def test_two_columns_leave_no_pair_for_a_control():
    X, y = planted()
    proof = FeatureAnalyzer(X[["a", "two words"]], y).prove()
    assert (proof.control, proof.control_gain, proof.verdict) == ((), 0.0, "confirmed")


# --- columns alike ---------------------------------------------------------------------------------------------------


def test_redundant_features_and_clusters():
    X, rng = table(0, correlation=0.0)
    X["copy"], X["mirror"] = X["a"] * 2 + 1, -X["b"] + 0.01 * rng.normal(size=len(X))
    X["like c"] = X["c"] + 0.5 * rng.normal(size=len(X))
    analyzer = FeatureAnalyzer(X, rng.normal(size=len(X)))
    found = analyzer.redundant_features()
    assert found[["feature", "repeats"]].to_numpy().tolist() == [["copy", "a"], ["mirror", "b"]]
    assert found["correlation"].tolist() == pytest.approx([1, -1], abs=1e-3)
    clusters = analyzer.feature_clusters()
    assert clusters["a"] == clusters["copy"] == 1
    assert clusters["b"] == clusters["mirror"] == 2
    assert clusters["c"] == clusters["like c"] == 3
    assert clusters.nunique() == len(NAMES)
    for a, b in combinations(X.columns, 2):
        assert (analyzer.feature_clusters(0.99)[a] == analyzer.feature_clusters(0.99)[b]) == (
            abs(X[a].corr(X[b])) > 0.99
        )
    for method in (analyzer.redundant_features, analyzer.feature_clusters):
        with pytest.raises(FlowGradError, match=r"threshold=1.5: a correlation's size lies between 0 and 1"):
            method(1.5)


# --- retraining ------------------------------------------------------------------------------------------------------


def test_a_sum_helps_a_tree_though_a_linear_model_has_it_already():
    X, rng = table(0, 800)
    y = X["a"] + X["b"] + 0.3 * rng.normal(size=800)
    analyzer, terms = FeatureAnalyzer(X, y), [Suggestion("sum", "a", "b")]
    tree = analyzer.prove_by_retraining(lambda: DecisionTreeRegressor(max_depth=4, random_state=0), terms)
    assert (tree.test, tree.metric, tree.n, tree.verdict) == ("corrected_t", "rmse", 10, "confirmed")
    assert tree.difference < 0
    linear = analyzer.prove_by_retraining(LinearRegression, terms)
    assert linear.difference == pytest.approx(0, abs=1e-9)
    assert linear.verdict == "inconclusive"


def test_no_column_is_replaced_by_a_term_of_its_name():
    """A column called 'a + b' that held something else was overwritten in the larger table alone."""
    X, y = planted()
    analyzer = FeatureAnalyzer(X.assign(**{"a + b": X["c"] ** 3}), y)
    with pytest.raises(FlowGradError, match="a column is named 'a \\+ b' already, which a term would replace; rename"):
        analyzer.prove_by_retraining(LinearRegression, [Term("sum", "a", "b")])


def test_classifiers_are_judged_by_probabilities():
    X, y = planted()

    def hits(truth, probability):
        return float(((probability > 0.5) == truth).mean())

    found = FeatureAnalyzer(X, y > 0).prove_by_retraining(
        lambda: LogisticRegression(max_iter=500), [Suggestion("product", "a", "two words")],
        metric=hits, higher_is_better=True, splits=5,
    )  # fmt: skip
    assert (found.metric, found.higher_is_better, found.verdict) == ("hits", True, "confirmed")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"suggestions": []}, "no suggestion is given"),
        ({"splits": 1}, "splits=1: a paired test needs 2"),
        ({"test_share": 1.0}, "test_share=1.0: must lie between 0 and 1"),
        ({"suggestions": [Suggestion("sum", "a", "z")]}, "'a \\+ z'.*no column 'z'|no column 'z'"),
    ],
)
def test_retraining_with_bad_settings(analyzer, settings, message):
    settings = {"suggestions": [Suggestion("sum", "a", "b")]} | settings
    with pytest.raises(FlowGradError, match=message):
        analyzer.prove_by_retraining(LinearRegression, **settings)


# --- bad input -------------------------------------------------------------------------------------------------------

X0, Y0 = planted(rows=60)
BAD = {
    "column 'a' holds (object|str|string), not numbers; encode it first": (X0.assign(a="x"), Y0),
    "column 'a' holds category, not numbers": (X0.assign(a=pd.Categorical(["u", "v"] * 30)), Y0),
    "column 'a' is missing in 1 of 60 rows \\(the first: 3\\); fill": (X0.assign(a=X0["a"].mask(X0.index == 3)), Y0),
    "column 'two words' is infinite in 60 of 60 rows": (X0.assign(**{"two words": np.inf}), Y0),
    "two columns are named 'a'; rename one": (X0.rename(columns={"b": "a"}), Y0),
    "every column is constant \\(a\\)": (X0[["a"]] * 0, Y0),
    "X has the shape \\(0, 6\\); give rows and columns": (X0.iloc[:0], Y0[:0]),
    "X has the shape \\(60,\\); give a data frame or an array": (Y0, Y0),
    "y has the shape \\(5,\\); X has 60 rows": (X0, Y0[:5]),
    "y holds nothing but 1; one class alone": (X0, np.ones(60)),
    "y holds NaN or infinity": (X0, np.full(60, np.nan)),
    "y holds (object|str|string), not numbers; code two classes as 0 and 1": (X0, np.array(["a", "b"] * 30)),
    "y holds category, not numbers": (X0, pd.Categorical(["a", "b"] * 30)),
    "y holds datetime64.*, not numbers": (X0, pd.Series(pd.date_range("2020-01-01", periods=60))),
    "y holds complex128, not numbers": (X0, Y0 + 1j),
    "y has the index of X in another order; give y.loc\\[X.index\\]": (X0, pd.Series(Y0)[::-1]),
    "column 'a' has values up to 1e\\+200, whose squares no float holds": (X0.assign(a=[1e200] + [0.0] * 59), Y0),
    "y has values up to .*e-200, whose squares no float holds": (X0, Y0 * 1e-200),
    "column 'c' is the target, or a multiple of it": (X0, 3 - 2 * X0["c"]),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_tables_are_a_clear_error(message):
    with pytest.raises(FlowGradError, match=message):
        FeatureAnalyzer(*BAD[message])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a.interactions("shap"), "method='shap' is unknown; known: partial_f, xgboost_shap, fast"),
        (lambda a: a.interactions(top=0), "top=0: must be 1 or more"),
        (lambda a: a.suggest_features(top=0), "top=0: must be 1 or more"),
        (lambda a: a.suggest_features(kinds=("products",)), "kinds: 'products' is unknown; did you mean 'product'"),
        (lambda a: a.prove([Suggestion("product", "a", "B")]), "'a \\* B': there is no column 'B'; known: a, b, c"),
        (lambda a: a.suggest_features(alpha=5), "alpha=5: must lie between 0 and 1, e.g. 0.05"),
        (lambda a: a.prove(alpha=5), "alpha=5: must lie between 0 and 1, e.g. 0.05"),
        (lambda a: a.prove([Suggestion("product", "a", "b")], alpha=0), "alpha=0: must lie between 0 and 1"),
        (
            lambda a: a.prove(["a * b"]),
            "suggestions: 'a \\* b' is no term; use Term\\('product', 'a', 'b'\\) or parse_term",
        ),
        (lambda a: a.prove_by_retraining(LinearRegression, ["a * b"]), "suggestions: 'a \\* b' is no term"),
        (lambda a: a.prove(draws=-1), "draws=-1: must be 0 or more"),
        (lambda a: a.plot_interactions("plot.png", columns=1), "columns=1: a pair has 2"),
        (lambda a: a.plot_interactions("plot.gif"), "path='plot.gif' must end in .png, .svg, .pdf"),
    ],
)
def test_bad_settings_are_a_clear_error(analyzer, call, message):
    with pytest.raises(FlowGradError, match=message):
        call(analyzer)


def test_fewer_rows_than_terms():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 10)))
    analyzer = FeatureAnalyzer(X, X[0] + np.arange(20))
    with pytest.raises(FlowGradError, match="20 rows are too few: 10 columns, their squares and a term more need 24"):
        analyzer.interactions()
    with pytest.raises(FlowGradError, match="10 rows are too few"):
        analyzer.prove()


def test_a_target_made_of_single_columns_has_no_rest():
    X, _ = table()
    with pytest.raises(FlowGradError, match="explain y without a rest, each by itself; is y, or a part of it, among"):
        FeatureAnalyzer(X, X["a"] ** 2 + X["b"]).interactions()


def test_constant_columns_are_left_out_and_said():
    X, y = planted()
    analyzer = FeatureAnalyzer(X.assign(constant=3.7, flag=True), y)
    assert analyzer.left_out == ("constant", "flag")
    assert analyzer.measurements().scalars["left_out"] == 2
    assert "constant_features" in [finding.rule_id for finding in analyzer.findings()]
    proof = analyzer.prove([Suggestion("product", "a", "constant"), Suggestion("product", "a", "two words")])
    assert proof.each["f"].isna().tolist() == [True, False]


def test_a_column_that_varies_on_one_half_alone():
    X, y = planted()
    X["rare"] = 0.0
    X.loc[0, "rare"] = 1.0
    for seed in range(2):
        assert FeatureAnalyzer(X, y, seed=seed).prove().verdict == "confirmed"


def test_one_column_has_no_pair():
    X, y = planted()
    analyzer = FeatureAnalyzer(X[["a"]], y)
    with pytest.raises(FlowGradError, match="column 'a' alone varies; an interaction needs two"):
        analyzer.interactions()
    assert analyzer.prove().verdict == "inconclusive"
    validate(analyzer.to_agent_xml())


@pytest.mark.parametrize("kind", ["array", "integers", "truth values", "nullable"])
def test_kinds_of_numbers(kind):
    X, y = planted()
    given = {
        "array": X.to_numpy(),
        "integers": X.set_axis(range(6), axis=1),
        "truth values": X.assign(a=X["a"] > 0),
        "nullable": X.astype("Float64"),
    }[kind]
    found = FeatureAnalyzer(given, list(y)).interactions(top=1)
    names = {"array": ["x0", "x3"], "integers": ["0", "3"]}.get(kind, ["a", "two words"])
    assert found.loc[0, ["first", "second"]].tolist() == names


def test_the_callers_table_is_not_touched():
    X, y = planted()
    before = X.copy()
    analyzer = FeatureAnalyzer(X, y)
    analyzer.measurements()
    pd.testing.assert_frame_equal(X, before)


# --- the report ------------------------------------------------------------------------------------------------------


def test_the_report(analyzer):
    text = analyzer.to_agent_xml()
    assert text.startswith('<flowgrad_feature_report layer="demo"')
    validate(text)
    assert from_xml(text) == analyzer.to_report()
    finding = analyzer.findings()[0]
    assert (finding.type, list(finding.rows.index)) == ("FEATURE_SYNERGY", ["a * two words"])
    assert finding.fix.rows == ("training.added_columns",)
    assert "FEATURE_SYNERGY" in analyzer.report()
    assert analyzer.summary()["proven"] == 1


def test_every_measure_is_there(analyzer):
    measured = analyzer.measurements()
    assert set(measured.scalars) == {m.name for m in FeatureAnalyzer.MEASURES if not m.per_row}
    assert set(measured.tables["rows"].columns) == {m.name for m in FeatureAnalyzer.MEASURES if m.per_row}
    assert measured.tables["rows"].index.tolist() == ["a * two words", *NAMES]
    assert analyzer.proof is analyzer.proof


def test_a_rules_threshold_is_the_only_one():
    """The analyzer counted repeats above .98 itself, so that a rule with another threshold on rows never fired."""
    X, y = planted()
    X["like a"] = X["a"] + 0.3 * np.random.default_rng(1).normal(size=len(X))
    shipped = yaml.safe_load(files("flowgrad.conf.rules").joinpath("feature.yaml").read_text("utf-8"))
    rule = shipped["redundant_features"] | {"rows": "twin_correlation > 0.9"}
    found = FeatureAnalyzer(X, y, rules=RuleBook.from_mapping({"redundant_features": rule})).findings()
    assert [list(finding.rows.index) for finding in found] == [["like a"]]
    assert "REDUNDANT_FEATURES" not in [finding.type for finding in FeatureAnalyzer(X, y).findings()]


def test_of_noise_the_report_is_healthy():
    X, rng = table(1, correlation=0)
    analyzer = FeatureAnalyzer(X, rng.normal(size=len(X)))
    assert not analyzer.findings()
    assert "<status>HEALTHY</status>" in analyzer.to_agent_xml()


def test_columns_alike_are_told():
    X, y = planted()
    X = X.assign(**{f"{name} again": X[name] * 2 for name in NAMES})
    found = {finding.type: finding for finding in FeatureAnalyzer(X, y).findings()}
    assert list(found["REDUNDANT_FEATURES"].rows.index) == [f"{name} again" for name in NAMES]
    assert found["REDUNDANT_FEATURES"].premise.startswith("54.5% of the columns after the first")  # 6 of 11
    assert len(found["COLLINEAR_CLUSTER"].rows) == 12
    assert list(found) == ["FEATURE_SYNERGY", "REDUNDANT_FEATURES", "COLLINEAR_CLUSTER"]


def test_what_a_mask_hides_is_missing():
    """`numpy.asarray` took what lies under the mask."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(FlowGradError, match="'x1' is missing in"):
        FeatureAnalyzer(np.ma.masked_where(np.arange(3) * X > 0, X), X[:, 0] + X[:, 1])
    with pytest.raises(FlowGradError, match="y holds NaN"):
        FeatureAnalyzer(X, np.ma.masked_greater(X[:, 0] ** 2, 1))
    FeatureAnalyzer(np.ma.masked_array(X, False), np.ma.masked_array(X[:, 0] ** 2, False))


@pytest.mark.parametrize(
    ("X", "told"), [([[1], [1, 2]], "is no array"), (np.zeros((3, 100_000)), "at most 10000"), (np.zeros(3), "shape")]
)
def test_tables_that_are_none(X, told):
    """Names of a hundred thousand columns were each looked up among all before it."""
    with pytest.raises(FlowGradError, match=told):
        FeatureAnalyzer(X, np.arange(3))
