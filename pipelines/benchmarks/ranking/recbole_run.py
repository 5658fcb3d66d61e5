"""Trains one model of RecBole on files of one split, and prints its metrics as JSON. A program of its own, run by the
Python that has RecBole: nothing of this repository is imported.
"""

from __future__ import annotations

import json
import sys
import types
from typing import Any


def main(arguments: str) -> None:
    """Train and test by JSON arguments: `model`, `folder`, `name`, `settings`, `seed`."""
    given = json.loads(arguments)
    _restore_names()
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    config = Config(
        given["model"],
        given["name"],
        config_dict={
            "data_path": given["folder"],
            "checkpoint_dir": given["folder"],
            "seed": given["seed"],
            "show_progress": False,
            "use_gpu": False,
            "state": "ERROR",
            **given["settings"],
        },
    )
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.saved_model_file = f"{given['folder']}/{given['model']}-{given['seed']}.pth"
    trainer.fit(train, valid, saved=True, show_progress=False, verbose=False)
    found = trainer.evaluate(test, load_best_model=True, show_progress=False)
    print(json.dumps({key: float(value) for key, value in found.items()}))


def _restore_names() -> None:
    """Put back names that NumPy has dropped, a setting that torch has turned round, and stubs of Ray, which RecBole
    1.2.1 asks for.
    """
    import numpy as np
    import torch

    for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "bool8": np.bool_}.items():
        setattr(np, name, kind)
    tune = types.ModuleType("ray.tune")
    ray: Any = types.ModuleType("ray")
    ray.tune = tune
    sys.modules |= {"ray": ray, "ray.tune": tune}
    load = torch.load
    torch.load = lambda *args, **given: load(*args, **{"weights_only": False, **given})
    torch.set_num_threads(1)


if __name__ == "__main__":
    main(sys.argv[1])
