"""Limits the values of settings beyond their types.

Every number must be finite, and a whole one must fit into 64 bits. Narrower limits stand in `LIMITS`, those of settings
of a user's own beside their fields (`pipelines.config.bounds`). An upper limit is far above what anybody means: it
keeps a slip of the finger from asking for all memory, or from training for a year.
"""

from __future__ import annotations

from pipelines.config.bounds import Choices, Limit, bounds_of
from pipelines.config.schema import compression, data, faults, jobs, models, proof, trackers, training

ANY = Limit(-1e30, 1e30)
"""Limits of numbers without a limit of their own: a float of 32 bits can still hold these, and some sums of them."""

_COUNT = Limit(1, 10**9)
_FROM_0 = Limit(0, 10**9)
_TIMES = Limit(1, 10**6)
_SIZE = Limit(1, 65536)
_SEED = Limit(0, 2**32 - 1)
_SCALE = Limit(0, 1e30)
_POSITIVE = Limit(above=0, least=1e-12, most=1e30)
_SHARE = Limit(above=0, least=1e-9, most=1)
_PART = Limit(above=0, least=1e-9, below=1)
_FROM_0_TO_1 = Limit(0, 1)
_BELOW_1 = Limit(least=0, below=1)

LIMITS: dict[type, dict[str, Limit]] = {
    data.RatingsSettings: {"test_share": _PART, "validation_share": _PART, "split_seed": _SEED},
    data.RatingsCsvSettings: {"max_bad_share": _FROM_0_TO_1, "max_dropped_share": _FROM_0_TO_1},
    data.SyntheticSettings: {
        "n_users": _COUNT, "n_items": _COUNT, "n_ratings": _COUNT, "dim": Limit(1, 1000), "noise": _SCALE,
        "popularity_exponent": Limit(0, 100), "seed": _SEED,
    },
    data.TableSettings: {"keep": _SHARE},
    data.SmallTableSettings: {"test_share": _PART, "validation_share": _PART, "split_seed": _SEED},
    models.BoosterSettings: {
        "rounds": _TIMES, "early_stopping_rounds": Limit(0, 10**6), "learning_rate": _SHARE, "max_depth": Limit(1, 30),
        "min_child_weight": _FROM_0, "reg_lambda": _FROM_0, "subsample": _SHARE, "column_share": _SHARE,
    },
    models.NetworkSettings: {"width": _SIZE, "depth": Limit(1, 1000), "init_scale": _SCALE},
    models.RecurrentSettings: {"steps": _COUNT},
    models.StudentSettings: {"widths": _SIZE, "dim": _SIZE},
    models.TeacherSettings: {
        "widths": _SIZE, "dim": _SIZE, "lr": _POSITIVE, "batch_size": Limit(2, 10**9), "epochs": _TIMES,
        "patience": _TIMES, "seed": _SEED,
    },
    models.FactorizationSettings: {"dim": _SIZE, "init_std": _SCALE},
    models.NeuMFSettings: {"mlp_dim": _SIZE, "widths": _SIZE},
    training.OptimizerSettings: {"lr": _POSITIVE, "weight_decay": _SCALE, "momentum": _BELOW_1},
    training.SamplerSettings: {"quarantine": _FROM_0},
    training.FactorizationLossSettings: {"l2": _SCALE, "logq": _FROM_0_TO_1},
    training.DistillationLossSettings: {"temperature": _POSITIVE, "label_weight": _FROM_0_TO_1},
    training.TrainingSettings: {"threads": Limit(1, 1024)},
    training.NetworkLoopSettings: {
        "epochs": _TIMES, "batch_size": Limit(2, 10**9), "patience": _TIMES, "clip_norm": Limit(above=0, most=1e30),
        "layer_lr": _SCALE,
    },
    training.LoopSettings: {
        "epochs": _TIMES, "batch_size": _COUNT, "patience": _TIMES, "capped_rows": _FROM_0, "cutoff": _TIMES,
    },
    faults.FaultSettings: {"strength": _SCALE, "seed": _SEED},
    faults.RowFaultSettings: {"share": _SHARE, "least": _FROM_0},
    faults.ColumnFaultSettings: {"noise": _SCALE},
    trackers.BoostingTrackerSettings: {"window": _TIMES},
    trackers.FlowTrackerSettings: {"schedule": _COUNT},
    trackers.DistillationTrackerSettings: {"probe": Limit(8, 10**9)},
    proof.ComparisonSettings: {"alpha": _PART, "aa_offset": Limit(1, 2**32 - 1), "overlap": _SHARE},
    proof.AutoSeedSettings: {
        "pilot": _SEED, "effect": _POSITIVE, "power": _PART, "least": Limit(2, 10**5), "most": Limit(2, 10**5),
        "first": _SEED,
    },
    proof.SeedSettings: {"diagnosis": _SEED, "test": _SEED},
    compression.CompressionSettings: {
        "sparsity": _BELOW_1, "rows": _SHARE, "loss": _SCALE, "fine_tune": _TIMES,
        "size": Limit(1, 2**60),
    },
    jobs.FaultBenchmarkSettings: {
        "seeds": _SEED, "peer_seeds": _FROM_0, "repair_seeds": _FROM_0, "least_cost": _SCALE,
    },
    jobs.OverheadLimits: {"ratio": Limit(1, 1e6), "memory_share": _POSITIVE},
    jobs.BoosterOverheadSettings: {
        "block": _TIMES, "peer_trainings": Limit(0, 10**6), "ratio_limit": Limit(1, 1e6),
    },
    jobs.TrackerOverheadSettings: {
        "steps": _TIMES, "block": _TIMES, "warmup": _TIMES, "peer_steps": Limit(0, 10**6), "epoch_steps": _TIMES,
        "exponent": Limit(0, 100), "seed": _SEED,
    },
    jobs.LayersOverheadSettings: {
        "steps": _TIMES, "other_steps": _TIMES, "block": _TIMES, "warmup": _TIMES, "seed": _SEED,
        "limits": Limit(1, 1e6),
    },
    jobs.CalibrationSettings: {
        "first_seed": _SEED, "pairs": Limit(3, 10**4), "tests": Limit(2, 10**5), "resamples": Limit(0, 10**5),
    },  # a test of variances takes 3 pairs; a family takes 3 arms, which are those of 2 tests of two
    jobs.FeatureSynergySettings: {"seeds": _SEED, "top": Limit(1, 10**4), "draws": Limit(1, 10**5)},
    jobs.CompressionProofSettings: {
        "sparsities": _PART, "removed": _PART, "fine_tune": Limit(0, 10**6), "margin": _PART, "repeats": _TIMES,
    },
    jobs.ColumnsSettings: {
        "rows": Limit(20, 10**8), "columns": Limit(3, 10**4), "correlation": _BELOW_1,
    },
    jobs.PlantedSettings: {"strength": _PART, "main": _SCALE},
    jobs.FeatureBenchmarkLimits: {"recall": _FROM_0_TO_1, "false_alarms": _FROM_0_TO_1, "seconds": _POSITIVE},
    jobs.FeatureBenchmarkSettings: {
        "first_seed": _SEED, "runs": _TIMES, "slow_runs": _TIMES, "null_runs": _TIMES, "top": Limit(1, 10**4),
        "speed_rows": Limit(2, 10**8), "speed_columns": Limit(2, 10**4),
    },
    jobs.CompressionBenchmarkLimits: {"spearman": Limit(-1, 1), "p": _FROM_0_TO_1, "seconds": _POSITIVE},
    jobs.CompressionBenchmarkSettings: {"seeds": _SEED},
    jobs.FieldBenchmarkSettings: {"seeds": _SEED, "least_cost": _SCALE},
    jobs.RobustnessSettings: {"seeds": _SEED, "attacks": Limit(0, 10**6), "only_number": _FROM_0},
}  # fmt: skip
"""Limits of the numbers of each type of settings, and of those in its lists and mappings. A type has the limits of its
bases too.
"""

TOP: dict[str, Limit] = {"rounds": Limit(0, 1000), "workers": Limit(1, 1024)}
"""Limits of `Settings` itself."""

MAY_REPEAT = frozenset({"widths", "shapes", "words", "overrides"})
"""Lists in which a value may stand twice; in any other it is a slip."""
OF_OVERRIDES = frozenset({"overrides", "trial"})
"""Lists of overrides."""
OVERRIDES = frozenset({"settings", "apart", "controls", "tables"})
"""Mappings to lists of overrides."""
PATHS = frozenset({"path", "cache", "files"})
"""Settings that name a file or a folder."""


def limit_of(kind: object, name: str) -> Limit | Choices | None:
    """Find the limit of a setting of this type; None where it has none of its own."""
    if (beside := bounds_of(kind, name)) is not None:
        return beside
    for one in kind.__mro__ if isinstance(kind, type) else ():
        if name in LIMITS.get(one, {}):
            return LIMITS[one][name]
    return None
