"""Types of what a run does: the closed loop, benchmarks, calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class JobSettings:
    """What a run does. `_target_` is called with the config, its overrides, the config sources and the run folder."""

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
    """Rules that are right to fire too, for what the fault brings about."""
    settings: list[str] | None = None
    """Where it can be laid; null: everywhere."""


@dataclass
class RunFaultCase:
    """A fault of a whole run, and which rules are right to act on it."""

    means: str = MISSING
    """Kind of fault, for those that come in several strengths."""
    rules: list[str] = MISSING
    fault: dict[str, Any] = MISSING
    """What is done to the healthy config, written as a rule's fix is: `set` and `scale`."""
    settings: list[str] | None = None
    """Where it can be laid; null: everywhere."""
    also: list[str] = field(default_factory=list)
    """As `RowFaultCase.also`."""


@dataclass
class FaultBenchmarkSettings(JobSettings):
    """Known faults laid into healthy settings."""

    _target_: str = "pipelines.fault_benchmark.job.run"
    ground: str = "pipelines.fault_benchmark.embeddings.Embeddings"
    """What is trained: a `pipelines.fault_benchmark.ground.Ground`."""
    seeds: list[int] = MISSING
    """Of the diagnosed runs; each also chooses other rows."""
    tables: list[str] = MISSING
    """Tables whose rows get faults."""
    settings: dict[str, list[str]] = MISSING
    """Healthy configurations: id -> overrides. Each is a control, and the ground for the faults."""
    true_of: dict[str, list[str]] = field(default_factory=dict)
    """Setting -> rules that are right of it as it is."""
    only: list[str] | None = None
    """Settings to run; null: all."""
    only_faults: list[str] | None = None
    """Faults to run; null: all."""
    controls: dict[str, list[str]] = MISSING
    """Healthy variants of every setting: id -> further overrides."""
    only_controls: list[str] | None = None
    """Controls to run; null: all."""
    row_faults: dict[str, RowFaultCase] = MISSING
    """Name -> which fault, and how it is scored."""
    run_faults: dict[str, RunFaultCase] = MISSING
    by_rule: bool = False
    """Whether each rule's precision over all runs is written too; `also` and `true_of` must then be complete."""
    peer: bool = MISSING
    """Whether the peer library watches the same runs."""
    peer_seeds: int = MISSING
    """Diagnosed seeds, from the first, whose runs it watches: it takes three times as long as the training."""
    repair: bool = MISSING
    """Whether the prescribed fixes are tried on the seeds of the proof, beside random ones."""
    repair_seeds: int = MISSING
    """Diagnosed seeds, from the first, whose prescriptions are tried."""
    repair_kinds: list[str] = MISSING
    """Kinds of faults whose prescriptions are tried: `run`, `row`."""
    repair_faults: list[str] | None = None
    """Of these, by name; null: all."""
    repair_settings: list[str] | None = None
    """Settings whose prescriptions are tried; null: all."""
    repair_random: bool = MISSING
    """Whether random fixes are tried beside them."""
    least_cost: float = MISSING
    """Relative loss of the metric below which a fault of a run counts as harmless."""


@dataclass
class OverheadLimits:
    """What `within` in the table is judged by."""

    ratio: dict[str, float] = MISSING
    """The most that a watched step may take, over a bare one, by batch size: `b1024`. One without is not judged."""
    memory_share: float = MISSING
    """The most that the tracker may hold, over the table."""


@dataclass
class BoosterOverheadSettings:
    """What watching a booster costs, by case."""

    experiment: str = MISSING
    """Whose booster, table and tracker."""
    cases: dict[str, Any] = MISSING
    """Id -> rounds, a multiple of two blocks, and trainings of each arm."""
    block: int = MISSING
    """Rounds of one arm before the other has its turn."""
    peer_trainings: int = MISSING
    """Of each arm, for the peer; 0: no peer."""
    ratio_limit: float = MISSING
    """The most that a watched training may take, over a bare one."""


@dataclass
class TrackerOverheadSettings(JobSettings):
    """What watching costs, by case."""

    cases: dict[str, Any] = MISSING
    """Id -> rows, dim, optimizer, batch and, where not `steps` from below, steps."""
    only: list[str] | None = None
    """Ids of the cases to run; null: all."""
    steps: int = MISSING
    """Watched steps of a case that does not give its own; rounded up to whole rounds: two blocks of either arm."""
    block: int = MISSING
    """Steps of one arm before the other has its turn."""
    warmup: int = MISSING
    """Bare steps before the tracker attaches, twice: once to warm up, once to see the memory of a bare step."""
    peer_steps: int = MISSING
    """As `steps`, for the peer that looks at every step; 0: no peer."""
    epoch_steps: int | None = None
    """The tracker is told of an epoch's end every so many steps; null: never."""
    exponent: float = MISSING
    """Of Zipf's law, by which ids are drawn; 0: all alike."""
    seed: int = MISSING
    device: str = MISSING
    """`cpu` or `cuda`."""
    limits: OverheadLimits = MISSING
    boosters: BoosterOverheadSettings = MISSING
    """Takes the place of all above but `only` where `model` is a booster."""


@dataclass
class LayersOverheadSettings(JobSettings):
    """What watching a network costs, by case and watcher."""

    _target_: str = "pipelines.overhead.networks.job.run"
    cases: dict[str, Any] = MISSING
    """Id -> network (`mlp` or `transformer`), depth, width, batch; tokens of a transformer; of a student, the width of
    its teacher; where not `adam`, the optimizer (`sgd`); and, where not `steps` from below, steps."""
    only: list[str] | None = None
    """Ids of the cases to run; null: all."""
    steps: int = MISSING
    """Watched steps of a case that does not give its own; rounded up to whole rounds: two blocks of either arm."""
    other_steps: int = MISSING
    """The most that a watcher of others, which costs more, gets of them."""
    block: int = MISSING
    """Steps of one arm before the other has its turn."""
    warmup: int = MISSING
    """Bare steps before the watcher attaches, twice: once to warm up, once to see the memory of a bare step."""
    seed: int = MISSING
    device: str = MISSING
    """`cpu` or `cuda`."""
    watchers: list[str] = MISSING
    """`flow`, `flow_default`, `distillation` (for cases with a teacher), `squares` (for cases of SGD), `peer`, `wandb`;
    one that is not installed is left out, and the note says so."""
    limits: dict[str, float] = MISSING
    """The most that a watched step may take, over a bare one, by watcher. One without is not judged."""


@dataclass
class CalibrationSettings(JobSettings):
    """How often the tests reject where there is nothing to find."""

    _target_: str = "pipelines.calibration.job.run"
    first_seed: int = MISSING
    """Of the runs; seeds follow each other, and no two settings share one. Apart from those of diagnosis and proof."""
    pairs: int = MISSING
    """Seeds a test."""
    tests: int = MISSING
    """Tests of each setting, of which no two share a run."""
    resamples: int = MISSING
    """How often the same runs are dealt into other tests, for a finer figure without an interval."""
    settings: dict[str, list[str]] = MISSING
    """Configurations: id -> overrides."""
    only: list[str] | None = None
    """Settings to run; null: all."""


@dataclass
class FeatureSynergySettings(JobSettings):
    """Terms of two columns, proven and tried."""

    _target_: str = "pipelines.feature_synergy.job.run"
    seeds: list[int] = MISSING
    """Each halves the training rows in its own way."""
    top: int = MISSING
    """Terms chosen at most."""
    draws: int = MISSING
    """How often as many products are drawn at random, for the control."""


@dataclass
class CompressionProofSettings(JobSettings):
    """What is done to the models of each seed, beside what is prescribed."""

    _target_: str = "pipelines.compression.job.run"
    sparsities: list[float] = MISSING
    """Shares of the weights that are pruned, by each way of choosing them."""
    bits: list[int] = MISSING
    """Bits of a weight, the same everywhere and shared out."""
    removed: list[float] = MISSING
    """Shares of the rows of the watched tables that are removed; empty for models without tables."""
    fine_tune: int = MISSING
    """Epochs that pruned models are trained on, in further arms; 0: none."""
    margin: float = MISSING
    """What does not matter: a difference of the held-out loss, or of the first metric, over the dense model's."""
    repeats: int = MISSING
    """Passes that the latency is the median of."""


@dataclass
class ColumnsSettings:
    """Columns of a table with a made-up target."""

    table: str | None = None
    """A key of `FeatureBenchmarkSettings.tables`, whose columns are taken; null: they are made up."""
    rows: int = MISSING
    """At most, of a real table."""
    columns: int = MISSING
    """As `rows`; of a real table, those that differ."""
    correlation: float = 0.0
    """Of any two of the normal variables that made-up columns are made from."""


@dataclass
class PlantedSettings(ColumnsSettings):
    """A target with interactions."""

    shapes: list[str] = MISSING
    """One a planted interaction; keys of `datasets.planted.SHAPES`."""
    strength: float = MISSING
    """Partial R^2 of each interaction."""
    main: float = 1.0
    """Standard deviation of the sum of the main effects over that of the noise."""


@dataclass
class NullSettings(ColumnsSettings):
    """A target without."""

    target: str | None = None
    """A key of `datasets.null_tables.NULLS`; null: that of the table, permuted."""


@dataclass
class FeatureBenchmarkLimits:
    """What `within` in the table is judged by."""

    recall: float = MISSING
    """The least share of the interactions that is among twice as many pairs."""
    false_alarms: float = MISSING
    """The largest share of the null tables in which something is found."""
    seconds: float = MISSING
    """The most that the large table may take."""


@dataclass
class FeatureBenchmarkSettings(JobSettings):
    """Known interactions, and none."""

    _target_: str = "pipelines.feature_benchmark.job.run"
    first_seed: int = MISSING
    """Of the tables; seeds follow each other."""
    runs: int = MISSING
    """Tables of each planted setting."""
    slow_runs: int = MISSING
    """Those of them, from the first, that slow methods get."""
    null_runs: int = MISSING
    """Tables of each null setting."""
    methods: list[str] = MISSING
    """Keys of `pipelines.feature_benchmark.methods.METHODS`; one that is not installed is left out with a warning."""
    top: int = MISSING
    """Pairs that are selected and tested in a null table, at most."""
    tables: dict[str, list[str]] = MISSING
    """Real tables: id -> overrides that choose `dataset` and `task`."""
    planted: dict[str, Any] = MISSING
    """Id -> a `PlantedSettings`."""
    nulls: dict[str, Any] = MISSING
    """Id -> a `NullSettings`."""
    only: list[str] | None = None
    """Settings to run, planted or null; null: all."""
    speed: bool = MISSING
    """Whether the cost of a large table is measured too."""
    speed_rows: int = MISSING
    speed_columns: int = MISSING
    limits: FeatureBenchmarkLimits = MISSING


@dataclass
class CompressionBenchmarkLimits:
    """What `within` in the table is judged by."""

    spearman: float = MISSING
    """The least pooled correlation of the default score of bits with the truth."""
    p: float = MISSING
    """The most that a setting's paired t-test of the chosen pruning against global magnitude may give."""
    seconds: float = MISSING
    """The most that the planning of a model may take."""


@dataclass
class CompressionBenchmarkSettings(JobSettings):
    """Scores of compression against the truth."""

    _target_: str = "pipelines.compression_benchmark.job.run"
    seeds: list[int] = MISSING
    """Of the models of each setting."""
    settings: dict[str, list[str]] = MISSING
    """Models that are scored: id -> overrides."""
    apart: dict[str, list[str]] = MISSING
    """Others, on which choices are made; run where `only` names them."""
    only: list[str] | None = None
    """Settings to run, of either; null: all of `settings`."""
    peer: bool = MISSING
    """Whether the peer library watches the same models."""
    limits: CompressionBenchmarkLimits = MISSING


@dataclass
class FieldFault:
    """What is right to say of a fault."""

    causes: list[str] = field(default_factory=list)
    """Types of findings that name it."""
    symptoms: list[str] = field(default_factory=list)
    """Types of findings that name what it brings about."""
    words: list[str] = field(default_factory=list)
    """Regular expressions, in lower case, of what a candidate's cause says where it names the fault."""


@dataclass
class FieldBenchmarkSettings(JobSettings):
    """Faults and habits of other people's training loops."""

    _target_: str = "pipelines.field_benchmark.job.run"
    seeds: list[int] = MISSING
    """Of the splits, the weights and the order of rows."""
    only_hosts: list[str] | None = None
    """Trainings to run; null: all."""
    only_faults: list[str] | None = None
    """Faults to run; null: all, none: []."""
    only_habits: list[str] | None = None
    """Healthy habits to run, `as_is` for the hosts as they are; null: all."""
    peer: bool = MISSING
    """Whether the peer library watches the networks too."""
    least_cost: float = MISSING
    """Share of what a sound model learned that a fault must cost, or mislead its author by, to count as harmful."""
    faults: dict[str, FieldFault] = MISSING
    """Truth of each registered fault."""
    peer_means: dict[str, list[str]] = MISSING
    """Type of a peer's alert -> types of findings that it amounts to, in its favour."""
    peer_silent: list[str] = MISSING
    """Types of alerts that ask for nothing."""


@dataclass
class RobustnessSettings(JobSettings):
    """Damaged and hostile input."""

    _target_: str = "pipelines.robustness.job.run"
    seeds: list[int] = MISSING
    """By which attacks are drawn."""
    attacks: dict[str, int] = MISSING
    """Kind, a key of `pipelines.robustness.kinds.KINDS` -> attacks of it, for each seed."""
    only: list[str] | None = None
    """Kinds to try; null: all."""
    only_number: int | None = None
    """The one attack of each kind and seed to try again; null: all."""
