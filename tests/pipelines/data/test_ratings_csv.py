"""A user's own ratings in a run: settings reach the loader with their types, and what cannot be proved is refused."""

from __future__ import annotations

import pytest

from flowgrad.errors import FlowGradError
from pipelines.data.ratings import load

ROWS = [(f"u{k % 6}", f"i{k // 6}", k % 5 + 1, 978_300_000 + k) for k in range(60)]


@pytest.fixture
def config(composed, tmp_path):
    """Compose a run on a file with this content."""

    def of(content, *overrides):
        (tmp_path / "my ratings, 2024 (1).csv").write_bytes(content)
        return composed("dataset=ratings_csv", f'dataset.path="{tmp_path}/my ratings, 2024 (1).csv"', *overrides)

    return of


def text(separator, rows=ROWS, header=""):
    return (header + "".join(separator.join(map(str, row)) + "\n" for row in rows)).encode()


def test_the_settings_that_the_documentation_gives_for_a_file_without_header(config):
    columns = "dataset.columns={user: 0, item: 1, rating: 2, timestamp: 3}"
    data = load(config(text("\t"), r"dataset.separator=\t", "dataset.header=false", columns))
    assert (len(data.train), len(data.validation), len(data.test)) == (48, 6, 6)


def test_one_number_of_a_column_is_a_number(config):
    data = load(config(text("::", header="a::b::rating::timestamp\n"), "dataset.separator=::", "dataset.columns.user=0",
                       "dataset.columns.item=1"))  # fmt: skip
    assert data.n_users == 6


def test_encoding_and_decimal_comma(config):
    rows = [(user, f"{item}é", f"{rating},5", time) for user, item, rating, time in ROWS]
    content = text(";", rows, "user;item;rating;timestamp\n").decode().encode("latin-1")
    data = load(config(content, 'dataset.separator=";"', 'dataset.decimal=","', "dataset.encoding=latin-1"))
    assert set(data.test.ratings.tolist()) <= {1.5, 2.5, 3.5, 4.5, 5.5}


def test_repeated_pairs_stop_a_run_until_a_setting_says_what_to_do(config):
    content = text(",", ROWS * 3, "user,item,rating,timestamp\n")
    with pytest.raises(FlowGradError, match=r"60 \(user, item\) pairs .* in 180 of 180 rows.*dataset.duplicates=drop"):
        load(config(content))
    for how, n_test in (("drop", 6), ("keep", 18)):
        data = load(config(content, f"dataset.duplicates={how}"))
        assert len(data.test) == n_test
        test = set(zip(data.test.users.tolist(), data.test.items.tolist(), strict=True))
        assert not test & set(zip(data.train.users.tolist(), data.train.items.tolist(), strict=True))


def test_interactions_without_ratings_are_ranked_and_not_fitted(config):
    content = text(",", [row[:2] for row in ROWS], "user,item\n")
    missing = ["dataset.columns.rating=null", "dataset.columns.timestamp=null"]
    with pytest.raises(FlowGradError, match=r"dataset.columns.rating=null leaves no ratings.*loss=in_batch_softmax"):
        load(config(content, *missing))
    data = load(config(content, "experiment=movielens_implicit", *missing))
    assert set(data.train.ratings.tolist()) == {1.0}
