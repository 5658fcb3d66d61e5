"""Names of a run's model and data, by its config."""

import pytest

from flowgrad.verification.run_config import RunConfig, pair_of


@pytest.mark.parametrize(
    ("config", "pair"),
    [
        ({"model": {"_target_": "m.DeepFM"}, "dataset": {"_target_": "datasets.load_flights"}}, ("DeepFM", "flights")),
        ({"model": {"_target_": "m.build_student"}, "dataset": {"name": "digits"}}, ("student", "digits")),
        (
            {"model": {"_target_": "Mlp"}, "dataset": {"name": "table_csv", "path": "/x/log.csv"}},
            ("Mlp", "table_csv log.csv"),
        ),
        ({"model": "resnet", "dataset": None}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_model_and_data_of_a_config(tmp_path, config, pair):
    assert pair_of(config) == pair
    assert RunConfig(tmp_path / "config.yaml", config).case == (" on ".join(pair) if all(pair) else "")
