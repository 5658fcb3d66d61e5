"""Types of every config node. A key that is not here is an error, and so is a value of another type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from pipelines.sweep.mark import folder_name


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
    its teacher; and, where not `steps` from below, steps."""
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
    """`flow`, `flow_default`, `distillation` (for cases with a teacher), `peer`, `wandb`; one that is not installed is
    left out, and the note says so."""
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
class DatasetSettings:
    """Which data, and how they are split."""

    _target_: str = MISSING


@dataclass
class RatingsSettings(DatasetSettings):
    """Ratings; `_target_` makes a `datasets.ratings.Ratings`."""

    split: str = "leave_one_out"
    """`leave_one_out` (by time) or `random`."""
    test_share: float = 0.1
    """Of the ratings; `random` split only."""
    validation_share: float = 0.1
    """As `test_share`."""
    split_seed: int = 0
    """Seed of the `random` split; the same for every arm and seed of training."""


@dataclass
class MovieLensSettings(RatingsSettings):
    """MovieLens-100K."""

    _target_: str = "datasets.movielens.load_movielens_100k"
    path: str | None = None
    """A copy of the data set at hand: folder, file, or archive."""
    cache: str | None = None
    """Folder of the data cache; null is the user's cache folder (or $FLOWGRAD_CACHE)."""


@dataclass
class RatingsCsvSettings(RatingsSettings):
    """A user's own ratings."""

    _target_: str = "datasets.ratings_csv.load_ratings_csv"
    path: str = MISSING
    columns: dict[str, str | None] = MISSING
    """Our name -> the file's column; `timestamp: null` takes the order of the lines as time."""
    separator: str = MISSING


@dataclass
class SyntheticSettings(RatingsSettings):
    """A small generator with known structure; needs no network."""

    _target_: str = "datasets.synthetic.make_ratings"
    n_users: int = 120
    n_items: int = 80
    n_ratings: int = 3000
    dim: int = 3
    noise: float = 0.5
    popularity_exponent: float = 1.0
    seed: int = 0


@dataclass
class TableSettings(DatasetSettings):
    """A table of features and targets; `_target_` makes a `datasets.tables.Table`."""

    keep: float = MISSING
    """Share of the rows (or of the groups that they belong to, such as users) that each seed keeps of every part: a
    booster may draw nothing at random, and seeds then stand for samples of the data. 1: all."""


@dataclass
class MovieLensTableSettings(TableSettings):
    """MovieLens-100K, one row a rating."""

    _target_: str = "datasets.movielens_table.load_movielens_table"
    path: str | None = None
    """A copy of the data set at hand: folder or archive."""
    cache: str | None = None
    """As `MovieLensSettings.cache`."""


@dataclass
class SmallTableSettings(TableSettings):
    """A real table that scikit-learn ships."""

    _target_: str = "datasets.small_tables.load_small_table"
    name: str = MISSING
    """`diabetes`, `breast_cancer` or `digits`."""
    test_share: float = 0.2
    validation_share: float = 0.2
    split_seed: int = 0
    """Of the split; the same for every arm and seed of training."""


@dataclass
class TaskSettings:
    """What is predicted."""

    target: str = MISSING
    """One of the table's targets."""
    kind: str = MISSING
    """`regression`, `binary` or `multiclass`."""
    metrics: list[str] = MISSING
    """Of `comparison.metrics`, unless it says otherwise; the first is also what validation goes by."""


@dataclass
class ModelSettings:
    """What is trained."""

    _target_: str = MISSING


@dataclass
class BoosterSettings(ModelSettings):
    """A gradient booster. The names are XGBoost's where it has one; LightGBM is given what means the same."""

    rounds: int = MISSING
    """At most."""
    early_stopping_rounds: int = 0
    """Stop when the validated metric has not improved for so many, and predict with the best; 0: train all."""
    learning_rate: float = MISSING
    max_depth: int = MISSING
    """Splits from the root to a leaf."""
    min_child_weight: float = 1.0
    """Least sum of hessians in a leaf: rows, for squared errors."""
    reg_lambda: float = 1.0
    """L2 penalty on the leaves."""
    subsample: float = 1.0
    """Share of the rows that each tree is grown on."""
    column_share: float = 1.0
    """Share of the columns that each tree may split on."""


@dataclass
class NetworkSettings(ModelSettings):
    """A network on the rows of a table."""

    width: int = MISSING
    """Units of every hidden layer; channels of a convolution."""
    depth: int = MISSING
    """Hidden layers."""
    activation: str = "relu"
    """A key of `pipelines.networks.models.ACTIVATIONS`."""
    normalisation: str | None = None
    """Before each activation: `batch`, `layer` or null."""
    init: str = "kaiming"
    """`kaiming`, `xavier` or `torch`; see `pipelines.networks.initialisation`."""
    init_scale: float = 1.0
    """Factor on the initial weights of the hidden layers."""
    bias_init: float = 0.0
    """Initial biases of the hidden layers."""
    standardise: bool = True
    """Whether inputs are shifted and scaled to mean 0 and deviation 1, by the training rows."""
    residual: bool = False
    """Whether a layer adds to what it is given, where shapes allow."""


@dataclass
class RecurrentSettings(NetworkSettings):
    """A recurrent network on rows cut into pieces."""

    cell: str = "gru"
    """`rnn`, `gru` or `lstm`."""
    steps: int = 8
    """Pieces."""


@dataclass
class StudentSettings(ModelSettings):
    """A network that learns from a teacher. Its layers: `user_emb` and `item_emb` (with `dim`), `fc1`, ..., `out`."""

    _target_: str = "pipelines.distillation.students.build_student"
    widths: list[int] = MISSING
    """Units of each hidden layer."""
    dim: int | None = None
    """Columns of the embeddings; null: inputs are features."""
    widened_layers: dict[str, list[str]] = MISSING
    """Tracker -> layers made as wide as the median of the others of their kind, and at least twice what they were."""


@dataclass
class TeacherSettings:
    """What a student learns from: a network that is trained once and then belongs to the data."""

    widths: list[int] = MISSING
    """Units of each hidden layer."""
    dim: int | None = None
    """As `StudentSettings.dim`."""
    lr: float = 0.001
    """Of Adam."""
    batch_size: int = MISSING
    epochs: int = MISSING
    """At most: it stops early."""
    patience: int = 3
    """Epochs."""
    seed: int = 0
    """Of weights and order; the same for every arm and seed of the student."""


@dataclass
class FactorizationSettings(ModelSettings):
    """Matrix factorisation."""

    _target_: str = "pipelines.models.factorization.MatrixFactorization"
    dim: int = MISSING
    biases: bool = MISSING
    """Global mean, user bias and item bias."""
    init_std: float = MISSING
    """Standard deviation of the embeddings' initial entries."""


@dataclass
class OptimizerSettings:
    """One optimizer over all parameters. A setting that its class lacks must stay at its default."""

    _target_: str = MISSING
    lr: float = MISSING
    weight_decay: float = 0.0
    """On every row at every step; `loss.l2` is the one on the rows in the batch."""
    momentum: float = 0.0
    """SGD only."""
    sparse_gradients: bool = False
    """The tables' gradients hold the rows in the batch only."""


@dataclass
class SamplerSettings:
    """Order of the training examples."""

    _target_: str = "pipelines.training.sampling.shuffled_batches"
    quarantine: dict[str, list[int]] = MISSING
    """Table -> rows whose examples are left out of training."""


@dataclass
class LossSettings:
    """What is minimised."""

    _target_: str = MISSING


@dataclass
class FactorizationLossSettings(LossSettings):
    """Of a factorisation: a data term and a penalty."""

    l2: float = 0.0
    """Squared norm of the rows of each example, averaged over the batch."""
    logq: float = 0.0
    """Strength of the log-Q correction of in-batch negatives, 0..1 (losses that take negatives only)."""


@dataclass
class DistillationLossSettings(LossSettings):
    """Distance to the teacher's outputs and to the labels."""

    _target_: str = "pipelines.distillation.losses.KnowledgeDistillation"
    temperature: float = MISSING
    """Divides the logits of both; of a single output, without effect."""
    label_weight: float = MISSING
    """Of the labels, 0..1; the teacher has the rest."""


@dataclass
class TrainingSettings:
    """How it is trained; `_target_` is the kind of program, a `pipelines.program.Program`."""

    _target_: str = MISSING
    threads: int = 1
    """CPU threads; results are the same bytes only for the same number."""


@dataclass
class BoostingSettings(TrainingSettings):
    """Rounds of a booster."""

    _target_: str = "pipelines.boosting.program.Boosting"
    dropped_columns: dict[str, list[str]] = MISSING
    """Tracker -> columns that are kept from the booster."""
    added_columns: dict[str, list[str]] = MISSING
    """Analyzer -> columns computed from others, such as `user_mean * item_mean`."""


@dataclass
class NetworkLoopSettings(TrainingSettings):
    """Epochs of a torch optimizer on a network. Parameters are named by a prefix, such as `layers.0`."""

    _target_: str = "pipelines.networks.program.Networks"
    epochs: int = MISSING
    """At most."""
    batch_size: int = MISSING
    early_stopping: bool = True
    """Stop when the validation loss has not improved for `patience` epochs, and go back to the best weights."""
    patience: int = 5
    """Epochs."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; null: as it comes."""
    frozen: list[str] = field(default_factory=list)
    """Parameters that are not trained, on purpose: they ask for no gradient."""
    left_out: list[str] = field(default_factory=list)
    """Parameters that ask for a gradient and that the optimizer is not given: a mistake, to see whether it is found."""
    layer_lr: Any = None
    """Prefix -> factor on the learning rate; null: one rate for all."""
    full_rate: dict[str, list[str]] = MISSING
    """Tracker -> parameters that train at the full learning rate, whatever `left_out` and `layer_lr` say."""


@dataclass
class DistillationLoopSettings(NetworkLoopSettings):
    """Epochs of a student. Layers are named as in `StudentSettings`."""

    _target_: str = MISSING
    unfrozen_layers: dict[str, list[str]] = MISSING
    """Tracker -> layers that are trained, whatever `frozen` and `left_out` say."""


@dataclass
class LoopSettings(TrainingSettings):
    """Epochs of a torch optimizer."""

    _target_: str = "pipelines.training.program.Factorization"
    epochs: int = MISSING
    batch_size: int = MISSING
    early_stopping: bool = False
    """Stop when the validation loss has not improved for `patience` epochs, and go back to the best weights."""
    patience: int = 2
    """Epochs."""
    capped_rows: dict[str, list[int]] = MISSING
    """Table -> rows whose steps are held to the median step of the batch's rows: a learning rate of their own is
    taken from them."""
    evaluation: str = MISSING
    """`rating` (MSE, RMSE, MAE) or `ranking` (NDCG@k, HR@k over all items)."""
    cutoff: int = 10
    """k of the ranking metrics."""


@dataclass
class FaultSettings:
    """A known fault, put in to see whether it is found. No fix may touch it."""

    kind: str = MISSING
    """See `faults.py` in `pipelines/training`, `pipelines/boosting` and `pipelines/distillation`."""
    strength: float = 0.0
    """What it means depends on the kind."""
    seed: int = 0
    """Of all that is drawn for it, such as which rows; the same for every arm and seed of training."""


@dataclass
class RowFaultSettings(FaultSettings):
    """A fault of rows of an embedding table."""

    table: str = "item_emb"
    """Table whose rows get it."""
    share: float = 0.05
    """Of the rows with at least `least` training ratings."""
    least: int = 20
    """Training ratings."""


@dataclass
class LayerFaultSettings(FaultSettings):
    """Damage to one layer of a student."""

    layer: str = MISSING


@dataclass
class ColumnFaultSettings(FaultSettings):
    """A fault of columns that are added to a table."""

    noise: float = 0.0
    """Standard deviation of what is added to the target, or to a copied column, over its own."""


@dataclass
class TrackerSettings:
    """What is watched."""


@dataclass
class BoostingTrackerSettings(TrackerSettings):
    """A booster and its columns."""

    window: int = 25
    """Rounds a window of the gains by column."""
    features: bool = False
    """Look for terms of two columns that are missing, too."""


@dataclass
class FlowTrackerSettings(TrackerSettings):
    """The tensors of a network."""

    schedule: int | None = None
    """Look at every so-many-th step; null: by the tracker's own schedule."""


@dataclass
class DistillationTrackerSettings(TrackerSettings):
    """The layers of a student."""

    probe: int = MISSING
    """Validation rows that both models are compared on, at most."""


@dataclass
class EmbeddingTrackerSettings(TrackerSettings):
    """Embedding tables, by attribute name of the model."""

    tables: list[str] = MISSING
    auto_fix: bool = False
    """Damp the gradients of zombie rows while training; every arm then trains with trackers attached."""


@dataclass
class ComparisonSettings:
    """How the arms are compared."""

    metrics: list[str] = MISSING
    """Metrics tested; the first is the primary one."""
    alpha: float = MISSING
    aa_offset: int = 1000
    """The A/A arm trains the baseline on `seeds.test` plus this."""
    overlap: float | None = None
    """Share of their rows that the splits of two seeds have in common, for the corrected t-test; null: seeds are no
    splits, and the test is the plain one."""


@dataclass
class EvidenceSettings:
    """Which validated runs the findings' confidence rests on."""

    shipped: bool = True
    """This project's own, `flowgrad/conf/evidence.csv`."""
    files: list[str] = field(default_factory=list)
    """Further files of trials, as `python -m flowgrad evidence add` writes them."""
    prescribe_refuted: bool = False
    """Whether a fix is prescribed that made things worse more often than better."""


@dataclass
class AutoSeedSettings:
    """How many seeds `test: auto` takes: a rule that is fixed before anything is seen of them."""

    pilot: list[int] = field(default_factory=lambda: list(range(901, 907)))
    """Seeds that show how much the arms' difference varies, and are left out of the proof."""
    effect: float = 0.02
    """Smallest difference worth finding, as a share of the baseline's mean."""
    power: float = 0.8
    """Probability to find it."""
    least: int = 6
    most: int = 40
    first: int = 101
    """The seeds of the proof are this and those that follow."""


@dataclass
class SeedSettings:
    """Seeds of training. Diagnosis and proof never share one."""

    diagnosis: int = 0
    test: Any = field(default_factory=lambda: list(range(101, 111)))
    """Of the proof: a list, or `auto`."""
    auto: AutoSeedSettings = field(default_factory=AutoSeedSettings)


@dataclass
class Settings:
    """A whole run."""

    name: str = MISSING
    """The experiment's name: first column of the tables."""
    job: JobSettings = MISSING
    dataset: DatasetSettings = MISSING
    task: TaskSettings | None = None
    """Tables only."""
    teacher: TeacherSettings | None = None
    """Distillation only."""
    model: ModelSettings = MISSING
    optimizer: OptimizerSettings | None = None
    """Of what torch trains. Sampler, loss and fault are a factorisation's."""
    sampler: SamplerSettings | None = None
    loss: LossSettings | None = None
    training: TrainingSettings = MISSING
    fault: FaultSettings | None = None
    tracker: TrackerSettings = MISSING
    comparison: ComparisonSettings = MISSING
    rules: dict[str, Any] = field(default_factory=dict)
    """The rule book: id -> rule."""
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    seeds: SeedSettings = field(default_factory=SeedSettings)
    rounds: int = 4
    """At most so many rounds of diagnose-and-fix."""
    workers: int | None = None
    """Processes that train the arms; null: one a core. Changes no result."""
    trial: list[str] = field(default_factory=list)
    """Overrides to prove instead of a prescription: the treated arm is the config with these, diagnosed or not."""
    tuned: str | None = None
    """Experiment whose config is the reference for `gap_closed`; null: none."""


def register() -> None:
    """Make the types known to Hydra, for the YAML files to build on, and how the folder of a sweep's job is named."""
    OmegaConf.register_new_resolver("job_folder", folder_name, replace=True)
    store = ConfigStore.instance()
    store.store(name="settings", node=Settings)
    for name, node in {
        "job": JobSettings,
        "fault_benchmark": FaultBenchmarkSettings,
        "tracker_overhead": TrackerOverheadSettings,
        "layers_overhead": LayersOverheadSettings,
        "calibration": CalibrationSettings,
        "feature_benchmark": FeatureBenchmarkSettings,
        "feature_synergy": FeatureSynergySettings,
        "movielens": MovieLensSettings,
        "ratings_csv": RatingsCsvSettings,
        "synthetic": SyntheticSettings,
        "movielens_table": MovieLensTableSettings,
        "small_table": SmallTableSettings,
        "task": TaskSettings,
        "factorization": FactorizationSettings,
        "network": NetworkSettings,
        "recurrent": RecurrentSettings,
        "booster": BoosterSettings,
        "student": StudentSettings,
        "teacher": TeacherSettings,
        "optimizer": OptimizerSettings,
        "sampler": SamplerSettings,
        "loss": FactorizationLossSettings,
        "distillation_loss": DistillationLossSettings,
        "loop": LoopSettings,
        "distillation_loop": DistillationLoopSettings,
        "network_loop": NetworkLoopSettings,
        "boosting": BoostingSettings,
        "fault": RowFaultSettings,
        "layer_fault": LayerFaultSettings,
        "column_fault": ColumnFaultSettings,
        "embedding_tracker": EmbeddingTrackerSettings,
        "flow_tracker": FlowTrackerSettings,
        "boosting_tracker": BoostingTrackerSettings,
        "distillation_tracker": DistillationTrackerSettings,
        "comparison": ComparisonSettings,
    }.items():
        store.store(group="types", name=name, node=node)
