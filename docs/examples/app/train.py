"""A Hydra app of somebody else: settings in YAML, a metric in JSON."""

import json
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(config: DictConfig) -> None:
    """Fit by gradient steps and write the error on rows held out."""
    random = np.random.default_rng(config.seed)
    x = random.normal(size=(200, 10))
    y = x.sum(axis=1) + random.normal(size=200)
    weights = np.zeros(10)
    for _ in range(config.optimizer.steps):
        weights -= config.optimizer.lr * x[:150].T @ (x[:150] @ weights - y[:150]) / 150
    Path(config.out, "metrics.json").write_text(
        json.dumps({"test": {"mse": np.mean((x[150:] @ weights - y[150:]) ** 2)}})
    )


if __name__ == "__main__":
    main()
