import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from flowgrad.measures import VOCABULARY
from flowgrad.measures.embedding import effective_rank, exposure_gini, head_share, median, row_cosines, row_effect_f
from flowgrad.measures.embedding import row_norms as norms

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=60).filter(any)
MATRICES = arrays(float, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.floats(-100, 100, width=32))


def test_names_are_unique_and_described():
    for measures in VOCABULARY.values():
        names = [measure.name for measure in measures]
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() for name in names)
        assert all(measure.description.endswith(".") for measure in measures)
        assert all(measure.unit for measure in measures)


# --- exposure_gini ---------------------------------------------------------------------------------------------------


def slow_gini(counts):
    """Half the mean absolute difference of all pairs, over the mean."""
    n = len(counts)
    return sum(abs(a - b) for a in counts for b in counts) / (2 * n * n * np.mean(counts))


def test_gini_of_equal_exposure_is_zero():
    assert exposure_gini([3, 3, 3]) == 0


def test_gini_of_one_row_in_ten_is_nine_tenths():
    assert exposure_gini([0] * 9 + [5]) == pytest.approx(0.9)


def test_gini_of_a_table_by_hand():
    """Counts 1, 2, 3: (-2 * 1 + 0 * 2 + 2 * 3) / (3 * 6)."""
    assert exposure_gini([2, 3, 1]) == pytest.approx(4 / 18)


@given(COUNTS)
def test_gini_is_half_the_relative_mean_difference(counts):
    assert exposure_gini(counts) == pytest.approx(slow_gini(counts), abs=1e-12)


@given(COUNTS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_gini_knows_neither_scale_nor_order(counts, factor, shuffler):
    shuffled = [factor * count for count in counts]
    shuffler.shuffle(shuffled)
    assert exposure_gini(shuffled) == pytest.approx(exposure_gini(counts), abs=1e-12)
    assert -1e-12 <= exposure_gini(counts) <= 1 - 1 / len(counts) + 1e-12


@pytest.mark.parametrize("measure", [exposure_gini, head_share])
@pytest.mark.parametrize("counts", [[], [0, 0], [1, math.nan]])
def test_shares_of_nothing_are_unknown(measure, counts):
    assert math.isnan(measure(counts))


# --- head_share ------------------------------------------------------------------------------------------------------


def test_head_of_ten_rows_is_one_row():
    assert head_share([1] * 9 + [91]) == pytest.approx(0.91)


def test_head_of_a_short_table_is_at_least_one_row():
    assert head_share([3, 1]) == 0.75


def test_head_of_another_size():
    assert head_share([1, 2, 3, 4], head=0.5) == pytest.approx(0.7)


@given(COUNTS, st.floats(0.01, 1))
def test_head_share_agrees_with_a_slow_plain_version(counts, head):
    top = max(1, round(head * len(counts)))
    left, taken = list(counts), 0
    for _ in range(top):
        most = max(left)
        left.remove(most)
        taken += most
    assert head_share(counts, head) == pytest.approx(taken / sum(counts))


@given(COUNTS)
def test_head_holds_at_least_its_share_of_rows(counts):
    rows = max(1, round(0.1 * len(counts)))
    assert rows / len(counts) - 1e-12 <= head_share(counts) <= 1 + 1e-12


# --- row_norms and row_cosines ---------------------------------------------------------------------------------------


def test_norms_by_hand():
    assert norms([[3, 4], [0, 0]]).tolist() == [5, 0]


def test_norm_of_a_nan_is_nan():
    assert np.isnan(norms([[math.nan, 1], [math.inf, 1]])).tolist() == [True, False]


@given(MATRICES)
def test_norms_agree_with_a_slow_plain_version(matrix):
    assert norms(matrix).tolist() == pytest.approx([math.hypot(*row) for row in matrix.tolist()])


def test_cosines_by_hand():
    cosines = row_cosines([[1, 0], [1, 1], [2, 2]], [[0, 3], [1, 0], [-1, -1]])
    assert cosines.tolist() == pytest.approx([0, math.sqrt(0.5), -1])


@pytest.mark.parametrize("row", [[0, 0], [math.nan, 1], [math.inf, 1]])
def test_cosine_with_a_row_without_direction_is_unknown(row):
    assert np.isnan(row_cosines([row, [1, 1]], [[1, 1], row])).all()


def test_cosines_of_nothing():
    assert row_cosines(np.empty((0, 3)), np.empty((0, 3))).tolist() == []


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_cosines_of_tiny_and_huge_rows(scale):
    assert row_cosines([[scale, 0]], [[scale, scale]]).tolist() == pytest.approx([math.sqrt(0.5)])


@given(MATRICES, st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_cosines_agree_with_a_slow_plain_version(matrix, scale, seed):
    other = np.random.default_rng(seed).normal(size=matrix.shape)
    for cosine, a, b in zip(row_cosines(scale * matrix, other), matrix.tolist(), other.tolist(), strict=True):
        if math.hypot(*a) == 0:
            assert math.isnan(cosine)
        elif math.hypot(*a) > 1e-6:
            dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
            assert cosine == pytest.approx(dot / math.hypot(*a) / math.hypot(*b), abs=1e-9)
            assert -1 - 1e-9 <= cosine <= 1 + 1e-9


# --- effective_rank --------------------------------------------------------------------------------------------------


def slow_effective_rank(matrix):
    """From the eigenvalues of the Gram matrix instead of the singular values."""
    singular = [math.sqrt(max(value, 0)) for value in np.linalg.eigvalsh(matrix.T @ matrix)]
    shares = [value / sum(singular) for value in singular]
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


def test_effective_rank_of_the_identity_is_its_size():
    assert effective_rank(np.eye(5)) == pytest.approx(5)


def test_effective_rank_of_one_direction_is_one():
    assert effective_rank(np.outer([1, 2, 3], [1, -1])) == pytest.approx(1)


def test_effective_rank_by_hand():
    """Singular values 3 and 1: entropy of (3/4, 1/4)."""
    assert effective_rank([[3, 0], [0, 1], [0, 0]]) == pytest.approx(math.exp(0.75 * math.log(4 / 3) + math.log(4) / 4))


def test_effective_rank_agrees_with_a_slow_plain_version():
    generator = np.random.default_rng(0)
    for shape in [(50, 8), (8, 8), (30, 3)]:
        matrix = generator.normal(size=shape) * generator.uniform(0.1, 3, size=shape[1])
        assert effective_rank(matrix) == pytest.approx(slow_effective_rank(matrix))


@given(MATRICES.filter(lambda matrix: np.abs(matrix).max() > 1e-3), st.floats(0.01, 100))
def test_effective_rank_lies_between_one_and_the_rank_and_knows_no_scale(matrix, scale):
    rank = effective_rank(matrix)
    assert 1 - 1e-9 <= rank <= min(matrix.shape) + 1e-9
    assert effective_rank(scale * matrix) == pytest.approx(rank, rel=1e-6)
    assert effective_rank(matrix.T) == pytest.approx(rank, rel=1e-6)


@pytest.mark.parametrize("matrix", [np.empty((0, 4)), np.zeros((3, 2)), [[1, math.nan]], [[1, math.inf]]])
def test_effective_rank_of_nothing_is_unknown(matrix):
    assert math.isnan(effective_rank(matrix))


# --- row_effect_f ----------------------------------------------------------------------------------------------------


def test_row_effect_by_hand():
    """Groups (1, 3) and (5, 7): between 16 on 1 degree of freedom, within 4 on 2."""
    assert row_effect_f([1, 3, 5, 7], [0, 0, 9, 9]) == pytest.approx(8)


def test_no_row_effect_is_zero():
    assert row_effect_f([1, -1, 1, -1], [0, 0, 1, 1]) == 0


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(-10, 10, width=32)), min_size=4, max_size=80).filter(
        lambda pairs: 1 < len({row for row, _ in pairs}) < len(pairs)
    )
)
def test_row_effect_is_the_f_of_a_one_way_anova(pairs):
    rows, residuals = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    groups = [residuals[rows == row] for row in set(rows)]
    if max(np.ptp(group) for group in groups) < 1e-3:
        return  # no variance within rows: F is unknown or infinite
    assert row_effect_f(residuals, rows) == pytest.approx(stats.f_oneway(*groups).statistic, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("residuals", "rows"),
    [
        ([], []),
        ([1.0], [0]),
        ([1, 2, 3], [0, 0, 0]),
        ([1, 2], [0, 1]),
        ([1, math.nan, 2], [0, 0, 1]),
        ([1] * 4, [0, 1] * 2),
    ],
    ids=["empty", "one", "one row", "one each", "nan", "constant"],
)
def test_row_effect_that_cannot_be_told_is_unknown(residuals, rows):
    assert math.isnan(row_effect_f(residuals, rows))


def test_bias_terms_take_the_row_effect_away():
    """What the rule on it rests on: F is large with a row effect in the residuals, below 1 once it was fitted."""
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 50, 2000)
    raw = generator.normal(size=50)[rows] + generator.normal(size=2000)
    fitted = raw - (np.bincount(rows, raw) / np.bincount(rows))[rows]
    assert row_effect_f(raw, rows) > 10
    assert row_effect_f(fitted, rows) == pytest.approx(0, abs=1e-12)


# --- median ----------------------------------------------------------------------------------------------------------


def test_median_by_hand():
    assert median(np.array([3.0, 1.0, 2.0])) == 2
    assert median(np.array([4.0, 1.0])) == 2.5


def test_median_passes_over_what_is_not_finite():
    assert median(np.array([math.nan, 1.0, math.inf, 3.0, -math.inf])) == 2


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, math.nan]])
def test_median_of_nothing_is_unknown(values):
    assert math.isnan(median(np.array(values, dtype=float)))


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1))
def test_median_agrees_with_a_slow_plain_version(values):
    known = sorted(value for value in values if not math.isnan(value))
    middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else math.nan
    assert median(np.array(values)) == pytest.approx(middle, nan_ok=True)
