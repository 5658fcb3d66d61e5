"""Probabilities of clicks, judged: what each rule says of predictions that are wrong in a known way."""

from __future__ import annotations

import numpy as np
import pytest

from flowgrad import ClickAnalyzer
from flowgrad.errors import FlowGradError
from flowgrad.report import from_xml, validate

N = 6000


def world(seed=0):
    """Columns of ids with a known effect each, and clicks drawn by their sum."""
    random = np.random.default_rng(seed)
    columns = {"user": random.integers(1, 40, N), "item": random.integers(1, 60, N), "hour": random.integers(0, 24, N)}
    effects = {"user": random.normal(0, 1, 40), "item": random.normal(0, 1, 60)}
    odds = -1 + effects["user"][columns["user"]] + effects["item"][columns["item"]]
    clicked = (random.random(N) < 1 / (1 + np.exp(-odds))).astype(float)
    return columns, effects, clicked


def analyzer(change=lambda odds: odds, columns=None, **given):
    held, effects, clicked = world()

    def predict(columns):
        odds = -1 + effects["user"][columns["user"]] + effects["item"][columns["item"]]
        return 1 / (1 + np.exp(-change(odds)))

    rate = float(clicked.mean())
    given = {"train_rate": rate, "train_mean": rate, **given}
    return ClickAnalyzer(predict, held if columns is None else columns, clicked, **given)


def types(found):
    return {one.type: one for one in found.findings()}


def test_right_probabilities_leave_nothing_to_say_but_of_the_column_that_is_not_used():
    found = types(analyzer())
    assert set(found) == {"COLUMN_NOT_USED"}
    assert found["COLUMN_NOT_USED"].rows.index.tolist() == ["hour"]
    assert found["COLUMN_NOT_USED"].severity == "low"
    assert found["COLUMN_NOT_USED"].fix is None


def test_a_loss_with_weights_is_told_by_the_training_rows():
    found = types(analyzer(lambda odds: odds + np.log(4), train_mean=0.7))
    assert found["PROBABILITIES_OFF_BY_LEVEL"].fix.set == {"training.positive_weight": 1.0}
    assert not found["PROBABILITIES_OFF_BY_LEVEL"].candidates


def test_a_rate_that_moved_is_a_question():
    found = types(analyzer(lambda odds: odds + 1))
    assert "PROBABILITIES_OFF_BY_LEVEL" not in found
    assert found["CLICK_RATE_DRIFTED"].fix is None
    assert {one.cause for one in found["CLICK_RATE_DRIFTED"].candidates} >= {"DRIFT"}


def test_answers_that_are_too_sure_are_a_question():
    found = types(analyzer(lambda odds: -1 + 3 * (odds + 1)))
    assert found["OVERCONFIDENT"].fix is None
    assert "CLICK_RATE_DRIFTED" not in found


def test_values_that_share_rows_are_told_where_the_facts_are():
    columns, _, _ = world()
    trained = {"user": columns["user"], "item": columns["item"]}
    users = [f"u{one}" for one in columns["user"]]
    items = columns["item"] * 10 + np.random.default_rng(1).integers(0, 10, N)
    found = types(analyzer(trained=trained, values={"user": users, "item": items}))
    assert found["TABLE_TOO_SMALL"].rows.index.tolist() == ["item"]
    assert "TABLE_TOO_SMALL" not in types(analyzer(trained=trained))


def test_rows_that_few_look_up_are_a_question():
    columns, _, _ = world()
    few = np.arange(N) // 4
    found = types(analyzer(trained={"user": columns["user"], "item": few}))
    assert found["TABLE_TOO_LARGE"].rows.index.tolist() == ["item"]
    assert found["TABLE_TOO_LARGE"].fix is None


def test_rows_that_training_never_moved_are_told():
    columns, _, _ = world()
    trained = {"user": columns["user"] % 20, "item": columns["item"]}
    cold = types(analyzer(trained=trained))["COLD_ROWS_IN_USE"]
    assert cold.rows.index.tolist() == ["user"]
    still = np.zeros(60, dtype=bool)
    assert types(analyzer(trained=trained, moved={"item": still}))["COLD_ROWS_IN_USE"].rows.index.tolist() == [
        "user",
        "item",
    ]


def test_one_column_that_tells_nearly_all_is_a_question():
    columns, _, clicked = world()
    columns["leak"] = clicked.astype(int)

    def predict(held):
        return np.where(held["leak"] == 1, 0.9, 0.1) + 0.001 * held["hour"] / 24

    found = types(ClickAnalyzer(predict, columns, clicked))
    assert found["ONE_COLUMN_DOMINATES"].rows.index.tolist() == ["leak"]
    assert found["ONE_COLUMN_DOMINATES"].fix is None


def test_the_report_is_valid_and_the_same_each_time():
    one, other = analyzer().to_agent_xml(), analyzer().to_agent_xml()
    assert one == other
    validate(one)
    assert from_xml(one).kind == "clicks"
    assert "training_ids" in analyzer().measurements().coverage.unseen


def test_predictions_that_are_not_finite_are_no_verdict():
    broken = analyzer(lambda odds: odds * np.nan)
    assert "not finite" in broken.measurements().coverage.blind
    assert not broken.findings()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"columns": {}}, "columns is empty"),
        ({"columns": {"user": np.zeros(3, dtype=int)}}, r"column 'user' has the shape \(3,\)"),
        ({"trained": {"user": [0.5]}}, "column 'user': expected ids, whole numbers from 0"),
        ({"values": {"user": [1]}}, "values of 'user': expected one for each of its ids in trained"),
        ({"values": {"city": [3]}}, "'city' is no column; they are user, item, hour"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, told):
    with pytest.raises(FlowGradError, match=told):
        analyzer(**given)
    with pytest.raises(FlowGradError, match="clicked must hold 0 and 1, and both"):
        ClickAnalyzer(lambda columns: columns["a"], {"a": np.arange(3)}, [1, 1, 1])


def test_a_prediction_of_another_shape_is_refused():
    found = ClickAnalyzer(lambda columns: np.zeros((3, 2)), {"a": np.arange(3)}, [1, 0, 1])
    with pytest.raises(FlowGradError, match=r"predict gave an array of shape \(3, 2\); expected \(3,\)"):
        found.measurements()
