"""Types of the jobs: the closed loop, benchmarks, calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from pipelines.config.schema.limits import (
    BELOW_1,
    FROM_0,
    FROM_0_TO_1,
    PART,
    POSITIVE,
    SCALE,
    SEED,
    SHARE,
    TIMES,
    Limit,
)


@dataclass
class JobSettings:
    """Settings of a job. `_target_` is called with the config, its overrides, the config sources and the run folder."""

    _target_: str = MISSING


@dataclass
class RowFaultCase:
    """A fault of rows, and which rules are right to name them."""

    rules: list[str] = MISSING
    choice: str | None = None
    """Choice of the group `fault`; null: the case's own name."""
    overrides: list[str] = field(default_factory=list)
    """Further overrides, such as `fault.strength=3`."""
    also: list[str] = field(default_factory=list)
    """Rules that are right to fire too, for consequences of the fault."""
    settings: list[str] | None = None
    """Names of the settings that it can be injected into; null: all."""


@dataclass
class RunFaultCase:
    """A fault of a whole run, and which rules are right to act on it."""

    means: str = MISSING
    """Kind of fault, for those that come in several strengths."""
    rules: list[str] = MISSING
    fault: dict[str, Any] = MISSING
    """Change of the healthy config, written as a rule's fix is: `set` and `scale`."""
    settings: list[str] | None = None
    """Names of the settings that it can be injected into; null: all."""
    also: list[str] = field(default_factory=list)
    """Rules that are right to fire too, for consequences of the fault."""


@dataclass
class FaultBenchmarkSettings(JobSettings):
    """We inject known faults into healthy settings."""

    _target_: str = "pipelines.benchmarks.faults.job.run"
    ground: str = "pipelines.benchmarks.faults.embeddings.Embeddings"
    """Kind of model: a `pipelines.benchmarks.faults.ground.Ground`."""
    seeds: Annotated[list[int], SEED] = MISSING
    """Seeds of the diagnosed runs; each also chooses other rows."""
    tables: list[str] = MISSING
    """Tables whose rows get faults."""
    settings: dict[str, list[str]] = MISSING
    """Healthy configurations: id -> overrides. Each is a control, and the faults are injected into it."""
    true_of: dict[str, list[str]] = field(default_factory=dict)
    """Rules that are right of a setting as it is, by its id."""
    only: list[str] | None = None
    """Settings to run; null: all."""
    only_faults: list[str] | None = None
    """Faults to run; null: all."""
    controls: dict[str, list[str]] = MISSING
    """Healthy variants of every setting: id -> further overrides."""
    only_controls: list[str] | None = None
    """Controls to run; null: all."""
    row_faults: dict[str, RowFaultCase] = MISSING
    """Fault, and how it is scored, by name."""
    run_faults: dict[str, RunFaultCase] = MISSING
    by_rule: bool = False
    """Whether each rule's precision over all runs is written too; `also` and `true_of` must then be complete."""
    leave_out: bool = False
    """Whether thresholds are chosen anew without each pair of model and data, and that pair's runs judged by them."""
    peer: bool = MISSING
    """Whether the peer library watches the same runs."""
    peer_seeds: Annotated[int, FROM_0] = MISSING
    """Number of diagnosed seeds, from the first, whose runs it watches: it takes three times as long as the
    training.
    """
    repair: bool = MISSING
    """Whether the prescribed fixes are tried on the seeds of the proof, together with random ones."""
    repair_seeds: Annotated[int, FROM_0] = MISSING
    """Number of diagnosed seeds, from the first, whose prescriptions are tried."""
    repair_kinds: list[str] = MISSING
    """Kinds of faults whose prescriptions are tried: `run`, `row`."""
    repair_faults: list[str] | None = None
    """Names of such faults whose prescriptions are tried; null: all."""
    repair_settings: list[str] | None = None
    """Settings whose prescriptions are tried; null: all."""
    repair_random: bool = MISSING
    """Whether random fixes are tried too."""
    again: Annotated[float | None, SHARE] = None
    """Share of the trials of this run that the shipped ledger holds which are taken again, drawn by the rules; those
    whose rules have changed are, whatever it is. null: all, and none is compared with the ledger."""
    least_cost: Annotated[float, SCALE] = MISSING
    """Cost of a fault, as a share of the metric, below which it counts as harmless."""


@dataclass
class ConfidenceSettings(JobSettings):
    """How often a confidence is right, by repairs that were published."""

    _target_: str = "pipelines.benchmarks.faults.confidence.run"
    repairs: dict[str, str] = MISSING
    """Tables of repairs, in the repository, by the experiment that wrote them; a `*` stands for any text in a name."""


@dataclass
class ClickPeersSettings(JobSettings):
    """Our models of clicks beside those of Torch-RecHub, on the same rows."""

    _target_: str = "pipelines.benchmarks.recommenders.job.run"
    seeds: Annotated[list[int], SEED] = MISSING
    settings: dict[str, list[str]] = MISSING
    """Overrides of each comparison, by name."""


@dataclass
class OverheadLimits:
    """Limits by which `within` in the table is judged."""

    ratio: Annotated[dict[str, float], Limit(1, 1000000.0)] = MISSING
    """Ratio of a watched step's time to a bare one's, at most, by batch size: `b1024`. One without is not judged."""
    memory_share: Annotated[float, POSITIVE] = MISSING
    """Memory that the tracker may hold, as a share of the table's, at most."""


@dataclass
class BoosterOverheadSettings:
    """Settings of the cost of watching a booster, by case."""

    experiment: str = MISSING
    """Name of the experiment whose booster, table and tracker are taken."""
    cases: dict[str, Any] = MISSING
    """Cases by id: rounds, a multiple of two blocks, and trainings of each arm."""
    block: Annotated[int, TIMES] = MISSING
    """Number of rounds of one arm before the other has its turn."""
    peer_trainings: Annotated[int, Limit(0, 10**6)] = MISSING
    """Number of trainings of each arm, for the peer; 0: no peer."""
    ratio_limit: Annotated[float, Limit(1, 1000000.0)] = MISSING
    """Ratio of a watched training's time to a bare one's, at most."""


@dataclass
class TrackerOverheadSettings(JobSettings):
    """Settings of the cost of watching, by case."""

    cases: dict[str, Any] = MISSING
    """Cases by id: rows, dim, optimizer, batch and, where not `steps` from below, steps."""
    only: list[str] | None = None
    """Ids of the cases to run; null: all."""
    steps: Annotated[int, TIMES] = MISSING
    """Number of watched steps of a case that does not give its own; rounded up to whole rounds: two blocks of either
    arm.
    """
    block: Annotated[int, TIMES] = MISSING
    """Number of steps of one arm before the other has its turn."""
    warmup: Annotated[int, TIMES] = MISSING
    """Number of bare steps before the tracker attaches, twice: once to warm up, once to see the memory of a bare
    step.
    """
    peer_steps: Annotated[int, Limit(0, 10**6)] = MISSING
    """Number of steps for the peer that reads every step, as `steps`; 0: no peer."""
    epoch_steps: Annotated[int | None, TIMES] = None
    """Number of steps after which the tracker's epoch ends; null: never."""
    exponent: Annotated[float, Limit(0, 100)] = MISSING
    """Exponent of Zipf's law, by which ids are drawn; 0: all alike."""
    seed: Annotated[int, SEED] = MISSING
    device: str = MISSING
    """Name of the device, `cpu` or `cuda`."""
    limits: OverheadLimits = MISSING
    boosters: BoosterOverheadSettings = MISSING
    """Settings that take the place of all above but `only` where `model` is a booster."""


@dataclass
class LayersOverheadSettings(JobSettings):
    """Settings of the cost of watching a network, by case and watcher."""

    _target_: str = "pipelines.benchmarks.overhead.networks.job.run"
    cases: dict[str, Any] = MISSING
    """Cases by id: network (`mlp`, `transformer` or `ranker`), depth, width, batch; tokens of a transformer; of a
    ranker, rows of a table at most; of a student, the width of its teacher; where not `adam`, the optimizer (`sgd`;
    `sparse_adam` of a ranker); and, where not `steps` from below, steps.
    """
    only: list[str] | None = None
    """Ids of the cases to run; null: all."""
    steps: Annotated[int, TIMES] = MISSING
    """Number of watched steps of a case that does not give its own; rounded up to whole rounds: two blocks of either
    arm.
    """
    other_steps: Annotated[int, TIMES] = MISSING
    """Number of steps, at most, of a watcher of others, which costs more."""
    block: Annotated[int, TIMES] = MISSING
    """Number of steps of one arm before the other has its turn."""
    warmup: Annotated[int, TIMES] = MISSING
    """Number of bare steps before the watcher attaches, twice: once to warm up, once to see the memory of a bare
    step.
    """
    seed: Annotated[int, SEED] = MISSING
    device: str = MISSING
    """Name of the device, `cpu` or `cuda`."""
    watchers: list[str] = MISSING
    """Names of watchers: `flow`, `flow_default`, `watch`, `watch_default`, `distillation` (for cases with a teacher),
    `squares` (for cases of SGD), `peer`, `wandb`; one that is not installed is left out, and the note says so.
    """
    limits: Annotated[dict[str, float], Limit(1, 1000000.0)] = MISSING
    """Ratio of a watched step's time to a bare one's, at most, by watcher. One without is not judged."""
    memory_limits: Annotated[dict[str, float], Limit(0, 1000000.0)] = field(default_factory=dict)
    """Bytes that a watcher holds, at most, as a share of the weights, by watcher."""


@dataclass
class CalibrationSettings(JobSettings):
    """Settings of the rates at which tests reject where there is nothing to find."""

    _target_: str = "pipelines.benchmarks.aa_tests.job.run"
    first_seed: Annotated[int, SEED] = MISSING
    """Seed of the first run; seeds follow each other, and no two settings share one. They are other than those of
    diagnosis and proof.
    """
    pairs: Annotated[int, Limit(3, 10**4)] = MISSING
    """Number of seeds of a test; one of variances takes three."""
    tests: Annotated[int, Limit(2, 10**5)] = MISSING
    """Number of tests of each setting, of which no two share a run. A family takes the arms of two tests."""
    resamples: Annotated[int, Limit(0, 10**5)] = MISSING
    """Number of times that the same runs are divided into other tests, for a finer figure without an interval."""
    settings: dict[str, list[str]] = MISSING
    """Configurations: id -> overrides."""
    only: list[str] | None = None
    """Settings to run; null: all."""


@dataclass
class StackingLimits:
    """Limits by which `within` in the table is judged."""

    ratio: Annotated[dict[str, float], POSITIVE] = MISSING
    """Time of all seeds, on the processes that share their stacks, over that of one alone, at most, by case. A case
    without a limit is not judged by it.
    """
    difference: Annotated[float, FROM_0] = MISSING
    """Relative difference of a seed's validation losses from those of a run of its own, at most."""


@dataclass
class StackingSettings(JobSettings):
    """Settings of the cost of seeds that are trained together."""

    _target_: str = "pipelines.benchmarks.stacking.job.run"
    first_seed: Annotated[int, SEED] = MISSING
    """First of the seeds; they follow each other."""
    seeds: Annotated[int, Limit(2, 10**4)] = MISSING
    """Number of seeds that are trained together."""
    rounds: Annotated[int, TIMES] = MISSING
    """Number of times that all seeds, and one alone, are trained; an interval takes six."""
    cases: dict[str, list[str]] = MISSING
    """Trainings: id -> overrides."""
    only: list[str] | None = None
    """Ids of the cases to run; null: all."""
    limits: StackingLimits = MISSING


@dataclass
class TreatmentSettings(JobSettings):
    """Fixes made while training runs, beside none and beside those made from the start."""

    _target_: str = "pipelines.benchmarks.treatment.job.run"
    cases: dict[str, list[str]] = MISSING
    """Trainings, sick or healthy: id -> overrides."""
    only: list[str] | None = None
    """Cases to run; null: all."""


@dataclass
class FeatureSynergySettings(JobSettings):
    """Terms of two columns, proven and tried."""

    _target_: str = "pipelines.jobs.feature_synergy.job.run"
    seeds: Annotated[list[int], SEED] = MISSING
    """Seeds, each of which halves the training rows in its own way."""
    top: Annotated[int, Limit(1, 10**4)] = MISSING
    """Number of terms chosen, at most."""
    draws: Annotated[int, Limit(1, 10**5)] = MISSING
    """Number of times that as many products are drawn at random, for the control."""


@dataclass
class CompressionProofSettings(JobSettings):
    """Settings of the compression of the models of each seed, besides the prescription."""

    _target_: str = "pipelines.jobs.compression.job.run"
    sparsities: Annotated[list[float], PART] = MISSING
    """Shares of the weights that are pruned, by each way of choosing them."""
    bits: list[int] = MISSING
    """Bits of a weight, the same everywhere and shared out."""
    removed: Annotated[list[float], PART] = MISSING
    """Shares of the rows of the watched tables that are removed; empty for models without tables."""
    fine_tune: Annotated[int, Limit(0, 10**6)] = MISSING
    """Number of epochs that pruned models are trained on, in further arms; 0: none."""
    margin: Annotated[float, PART] = MISSING
    """Margin that does not matter: a difference of the held-out loss, or of the first metric, as a share of the dense
    model's.
    """
    repeats: Annotated[int, TIMES] = MISSING
    """Number of passes that the latency is the median of."""


@dataclass
class ColumnsSettings:
    """Columns of a table with a made-up target."""

    table: str | None = None
    """Name of the table whose columns are taken, a key of `FeatureBenchmarkSettings.tables`; null: they are made up."""
    rows: Annotated[int, Limit(20, 10**8)] = MISSING
    """Number of rows; of a real table, at most."""
    columns: Annotated[int, Limit(3, 10**4)] = MISSING
    """Number of columns; of a real table, at most, and only those that differ."""
    correlation: Annotated[float, BELOW_1] = 0.0
    """Correlation of any two of the normal variables that made-up columns are made from."""


@dataclass
class PlantedSettings(ColumnsSettings):
    """A target with interactions."""

    shapes: list[str] = MISSING
    """Shapes of the planted interactions, one each; keys of `datasets.planted.SHAPES`."""
    strength: Annotated[float, PART] = MISSING
    """Partial R^2 of each interaction."""
    main: Annotated[float, SCALE] = 1.0
    """Standard deviation of the sum of the main effects over that of the noise."""


@dataclass
class NullSettings(ColumnsSettings):
    """A target without interactions."""

    target: str | None = None
    """Kind of target, a key of `datasets.null_tables.NULLS`; null: that of the table, permuted."""


@dataclass
class FeatureBenchmarkLimits:
    """Limits by which `within` in the table is judged."""

    recall: Annotated[float, FROM_0_TO_1] = MISSING
    """Share of the interactions, at least, that is among twice as many pairs."""
    false_alarms: Annotated[float, FROM_0_TO_1] = MISSING
    """Share of the null tables, at most, in which something is found."""
    seconds: Annotated[float, POSITIVE] = MISSING
    """Seconds that the large table may take, at most."""


@dataclass
class FeatureBenchmarkSettings(JobSettings):
    """Settings of known interactions, and of tables without any."""

    _target_: str = "pipelines.benchmarks.features.job.run"
    first_seed: Annotated[int, SEED] = MISSING
    """Seed of the first table; seeds follow each other."""
    runs: Annotated[int, TIMES] = MISSING
    """Number of tables of each planted setting."""
    slow_runs: Annotated[int, TIMES] = MISSING
    """Number of those tables, from the first, that slow methods get."""
    null_runs: Annotated[int, TIMES] = MISSING
    """Number of tables of each null setting."""
    methods: list[str] = MISSING
    """Names of methods, keys of `pipelines.benchmarks.features.methods.METHODS`; one that is not installed is left out
    with a warning.
    """
    top: Annotated[int, Limit(1, 10**4)] = MISSING
    """Number of pairs that are selected and tested in a null table, at most."""
    tables: dict[str, list[str]] = MISSING
    """Real tables: id -> overrides that choose `dataset` and `task`."""
    planted: dict[str, Any] = MISSING
    """Planted settings by id, each a `PlantedSettings`."""
    nulls: dict[str, Any] = MISSING
    """Null settings by id, each a `NullSettings`."""
    only: list[str] | None = None
    """Settings to run, planted or null; null: all."""
    speed: bool = MISSING
    """Whether the cost of a large table is measured too."""
    speed_rows: Annotated[int, Limit(2, 10**8)] = MISSING
    speed_columns: Annotated[int, Limit(2, 10**4)] = MISSING
    limits: FeatureBenchmarkLimits = MISSING


@dataclass
class CompressionBenchmarkLimits:
    """Limits by which `within` in the table is judged."""

    spearman: Annotated[float, Limit(-1, 1)] = MISSING
    """Pooled correlation, at least, of the default score of bits with the truth."""
    p: Annotated[float, FROM_0_TO_1] = MISSING
    """P-value, at most, of a setting's paired t-test of the chosen pruning against global magnitude."""
    seconds: Annotated[float, POSITIVE] = MISSING
    """Seconds that the planning of a model may take, at most."""


@dataclass
class CompressionBenchmarkSettings(JobSettings):
    """Scores of compression against the truth."""

    _target_: str = "pipelines.benchmarks.compression.job.run"
    seeds: Annotated[list[int], SEED] = MISSING
    """Seeds of the models of each setting."""
    settings: dict[str, list[str]] = MISSING
    """Models that are scored: id -> overrides."""
    apart: dict[str, list[str]] = MISSING
    """Further models by id -> overrides, on which choices are made; run where `only` names them."""
    only: list[str] | None = None
    """Settings to run, of either; null: all of `settings`."""
    peer: bool = MISSING
    """Whether the peer library watches the same models."""
    limits: CompressionBenchmarkLimits = MISSING


@dataclass
class FieldFault:
    """Correct findings on a fault."""

    causes: list[str] = field(default_factory=list)
    """Types of findings that name the fault."""
    symptoms: list[str] = field(default_factory=list)
    """Types of findings that name a consequence of the fault."""
    words: list[str] = field(default_factory=list)
    """Regular expressions, in lower case, that match a candidate's cause where it names the fault."""


@dataclass
class FieldBenchmarkSettings(JobSettings):
    """Faults and habits of other people's training loops."""

    _target_: str = "pipelines.benchmarks.field.job.run"
    seeds: Annotated[list[int], SEED] = MISSING
    """Seeds of the splits, the weights and the order of rows."""
    only_hosts: list[str] | None = None
    """Trainings to run; null: all."""
    only_faults: list[str] | None = None
    """Faults to run; null: all, none: []."""
    only_habits: list[str] | None = None
    """Healthy habits to run, `as_is` for the hosts as they are; null: all."""
    peer: bool = MISSING
    """Whether the peer library watches the networks too."""
    least_cost: Annotated[float, SCALE] = MISSING
    """Share of a sound model's learning that a fault must cost, or mislead its author by, to count as harmful."""
    faults: dict[str, FieldFault] = MISSING
    """Truth of each registered fault."""
    peer_means: dict[str, list[str]] = MISSING
    """Types of findings that each type of a peer's alert amounts to, in its favour."""
    peer_silent: list[str] = MISSING
    """Types of alerts that ask for nothing."""


@dataclass
class RobustnessSettings(JobSettings):
    """Damaged and hostile input."""

    _target_: str = "pipelines.benchmarks.robustness.job.run"
    seeds: Annotated[list[int], SEED] = MISSING
    """Seeds by which attacks are drawn."""
    attacks: Annotated[dict[str, int], Limit(0, 10**6)] = MISSING
    """Number of attacks of each kind, a key of `pipelines.benchmarks.robustness.kinds.KINDS`, for each seed."""
    only: list[str] | None = None
    """Kinds to try; null: all."""
    only_number: Annotated[int | None, FROM_0] = None
    """Number of the one attack of each kind and seed to try again; null: all."""


@dataclass
class SoundnessCase:
    """A model of ours, and RecBole's that it is compared with."""

    ours: list[str] = MISSING
    """Overrides that train ours."""
    recbole: str = MISSING
    """Name of RecBole's model."""
    options: dict[str, Any] = MISSING
    """Settings of RecBole."""


@dataclass
class RankingSoundnessSettings(JobSettings):
    """We compare ranking models with those of RecBole."""

    _target_: str = "pipelines.benchmarks.ranking.job.run"
    python: str = MISSING
    """Python of an environment with RecBole, from the repository's root."""
    seeds: Annotated[list[int], SEED] = MISSING
    metrics: list[str] = MISSING
    """Metrics that both give, by name."""
    models: dict[str, SoundnessCase] = MISSING
    only: list[str] | None = None
    """Models to compare; null: all."""
