"""MovieLens as a table: columns against a brute-force reading of the past, files of both kinds, the real data."""

import numpy as np
import pandas as pd
import pytest

from datasets import movielens_table
from datasets.movielens_table import GENRES, OCCUPATIONS, features_of, load_movielens_table, past_sum
from flowgrad.errors import FlowGradError


def small(seed, n=120, users=6, items=9):
    """Ratings with many equal timestamps."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user": rng.integers(0, users, n),
            "item": rng.integers(0, items, n),
            "rating": rng.integers(1, 6, n).astype(float),
            "timestamp": np.sort(rng.integers(0, 40, n)) * 86_400,
        }
    )
    people = pd.DataFrame({"age": rng.integers(10, 60, users), "male": rng.random(users) < 0.5})
    people["occupation"] = rng.choice(["student", "doctor"], users)
    films = pd.DataFrame({"year": rng.integers(1950, 1999, items).astype(float)})
    films["genres"] = [set(rng.choice(GENRES, size=k % 4, replace=False)) for k in range(items)]
    return frame, people, films


def by_hand(frame, films, line):
    """The same figures of one line, from the ratings of earlier seconds, one after another."""
    row = frame.iloc[line]
    past = frame[frame["timestamp"] < row["timestamp"]]
    overall = past["rating"].mean() if len(past) else 3.5
    found = {}
    for name in ("user", "item"):
        own = past[past[name] == row[name]]
        first = frame.loc[frame[name] == row[name], "timestamp"].min()
        found |= {
            f"{name}_count": len(own),
            f"{name}_mean": (own["rating"].sum() + overall) / (len(own) + 1),
            f"{name}_std": own["rating"].std(ddof=0) if len(own) else 0,
            f"{name}_days": (row["timestamp"] - first) / 86_400,
        }
    genres = films.loc[row["item"], "genres"]
    of_user = past[past["user"] == row["user"]]
    times = [len(films.loc[item, "genres"] & genres) for item in of_user["item"]]
    total = sum(n * rating for n, rating in zip(times, of_user["rating"], strict=True))
    return found | {
        "affinity_count": sum(times),
        "affinity": (total + 5 * found["user_mean"]) / (sum(times) + 5),
    }


@pytest.mark.parametrize("seed", range(3))
def test_columns_are_what_the_past_says(seed):
    frame, people, films = small(seed)
    features = features_of(frame, people, films)
    hands = pd.DataFrame([by_hand(frame, films, line) for line in range(len(frame))])
    pd.testing.assert_frame_equal(features[hands.columns], hands.astype(float), rtol=1e-9, atol=1e-7)
    for name, other in (("user", "item"), ("item", "user")):
        surprise = frame["rating"] - hands[f"{other}_mean"]
        for line in range(len(frame)):
            past = (frame["timestamp"] < frame["timestamp"][line]) & (frame[name] == frame[name][line])
            bias = surprise[past].sum() / (past.sum() + 5)
            assert features[f"{name}_bias"][line] == pytest.approx(bias)
    assert features["male"].tolist() == people["male"][frame["user"]].tolist()
    assert features["occupation_student"].tolist() == (people["occupation"][frame["user"]] == "student").tolist()
    assert features["genre_Drama"].tolist() == ["Drama" in films["genres"][item] for item in frame["item"]]


@pytest.mark.parametrize("seed", range(3))
def test_the_future_changes_nothing(seed):
    """Other ratings from some second on leave every line up to that second as it was."""
    frame, people, films = small(seed)
    cut = frame["timestamp"].iloc[60]
    changed = frame.copy()
    later = changed["timestamp"] >= cut
    changed.loc[later, "rating"] = 6 - changed.loc[later, "rating"]
    before, after = features_of(frame, people, films), features_of(changed, people, films)
    past = (frame["timestamp"] <= cut).to_numpy()
    pd.testing.assert_frame_equal(before[past], after[past])
    assert not before[~past].equals(after[~past])


def test_past_sums_of_nothing():
    nothing = np.empty(0)
    assert len(past_sum(nothing, nothing, nothing)) == 0


U_USER = b"1|24|M|technician|85711\n2|53|F|other|94043\n"
U_ITEM = (
    b"1|Toy Story (1995)|01-Jan-1995||http://x|"
    + b"|".join(b"1" if g in (3, 4, 5) else b"0" for g in range(19))
    + b"\n"
    b"267|unknown||||" + b"|".join(b"1" if g == 0 else b"0" for g in range(19)) + b"\n"
)
R_USER = b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n" + U_USER.replace(b"|", b"\t")
R_ITEM = (
    b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b"1\tToy Story\t1995\tAnimation Children's Comedy\n267\tunkonwn\tunkonwn\tunknown\n"
)


@pytest.mark.parametrize("files", [(U_USER, U_ITEM), (R_USER, R_ITEM)], ids=["GroupLens", "RecBole"])
def test_files_of_both_kinds(files):
    people, films = movielens_table._read(files, "here")
    assert people.loc["1"].tolist() == [24, True, "technician"]
    assert not people.loc["2", "male"]
    assert films.loc["1"].tolist() == [1995, {"Animation", "Children's", "Comedy"}]
    assert np.isnan(films.loc["267", "year"])
    assert not films.loc["267", "genres"] & set(GENRES)
    again = movielens_table._read(movielens_table._kept((people, films)), "there")
    for one, other in zip((people, films), again, strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((b"1|24|M\n", U_ITEM), "3 columns instead of 5"),
        ((U_USER, R_ITEM.replace(b"Comedy", b"Commedia")), "the genre 'Commedia' is not one of"),
        ((U_USER.replace(b"24", b"old"), U_ITEM), "could not convert"),
    ],
)
def test_files_that_are_something_else(files, message):
    with pytest.raises(ValueError, match=message):
        movielens_table._read(files, "here")


def test_a_folder_with_the_ratings_alone(tmp_path):
    (tmp_path / "u.data").write_bytes(b"")
    (tmp_path / "u.user").write_bytes(U_USER)
    with pytest.raises(FlowGradError, match=r"holds neither u\.user and u\.item nor ml-100k\.user and ml-100k\.item"):
        movielens_table.fetch(movielens_table._WANTED, tmp_path)


@pytest.mark.movielens
def test_the_real_table():
    table = load_movielens_table()
    assert table.features.shape == (100_000, 41)
    assert np.bincount(table.parts) / 1000 == pytest.approx([70, 10, 20], abs=0.05)
    assert table.targets["liked"].mean() == pytest.approx(0.554, abs=0.001)
    assert table.features.drop(columns="year").notna().all(axis=None)
    assert {name for name in table.features if name.startswith("occupation_")} == {
        f"occupation_{o}" for o in OCCUPATIONS
    }


@pytest.mark.movielens
def test_a_linear_model_of_the_real_table():
    """Ordinary least squares: RMSE .974 on a table like this one."""
    table = load_movielens_table()
    train, test = table.parts == 0, table.parts == 2
    X = np.c_[np.ones(len(table.features)), table.features.fillna(table.features.mean())]
    y = table.targets["rating"]
    weights, *_ = np.linalg.lstsq(X[train], y[train], rcond=None)
    assert np.sqrt(np.mean((X[test] @ weights - y[test]) ** 2)) < 0.974
