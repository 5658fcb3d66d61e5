"""Types of every config node. A key that is not here is an error, and so is a value of another type."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from pipelines.config.folder_names import folder_name
from pipelines.config.schema.compression import CompressionSettings
from pipelines.config.schema.data import (
    ClickTableSettings,
    DatasetSettings,
    FlightSequencesSettings,
    InstEvalSettings,
    MovieLensSettings,
    MovieLensTableSettings,
    RatingsCsvSettings,
    SmallTableSettings,
    SyntheticSettings,
    TableCsvSettings,
    TaskSettings,
)
from pipelines.config.schema.faults import ColumnFaultSettings, FaultSettings, LayerFaultSettings, RowFaultSettings
from pipelines.config.schema.jobs import (
    CalibrationSettings,
    ClickPeersSettings,
    CompressionBenchmarkSettings,
    CompressionProofSettings,
    ConfidenceSettings,
    FaultBenchmarkSettings,
    FeatureBenchmarkSettings,
    FeatureSynergySettings,
    FieldBenchmarkSettings,
    JobSettings,
    LayersOverheadSettings,
    RankingSoundnessSettings,
    RobustnessSettings,
    StackingSettings,
    TrackerOverheadSettings,
    TreatmentSettings,
)
from pipelines.config.schema.limits import Limit
from pipelines.config.schema.models import (
    BoosterSettings,
    ClickModelSettings,
    FactorizationSettings,
    ModelSettings,
    NetworkSettings,
    NeuMFSettings,
    RecurrentSettings,
    StudentSettings,
    TeacherSettings,
)
from pipelines.config.schema.proof import ComparisonSettings, EvidenceSettings, PruningSettings, SeedSettings
from pipelines.config.schema.ranking import RankingLoopSettings, RankingLossSettings
from pipelines.config.schema.trackers import (
    BoostingTrackerSettings,
    DistillationTrackerSettings,
    EmbeddingTrackerSettings,
    FlowTrackerSettings,
    TrackerSettings,
)
from pipelines.config.schema.training import (
    BoostingSettings,
    ClickLoopSettings,
    DistillationLoopSettings,
    DistillationLossSettings,
    FactorizationLossSettings,
    LoopSettings,
    LossSettings,
    NetworkLoopSettings,
    OptimizerSettings,
    SamplerSettings,
    ScriptSettings,
    TrainingSettings,
)
from pipelines.config.text import read_fast


@dataclass
class Settings:
    """Settings of a whole run."""

    name: str = MISSING
    """The experiment's name: first column of the tables."""
    job: JobSettings = MISSING
    dataset: DatasetSettings | None = None
    """Settings of the data; a script of the user's own has none, and no model and tracker either."""
    task: TaskSettings | None = None
    """Settings of the task, of tables only."""
    teacher: TeacherSettings | None = None
    """Settings of the teacher, of distillation only."""
    model: ModelSettings | None = None
    optimizer: OptimizerSettings | None = None
    """Settings of the optimizer of models that torch trains. Sampler, loss and fault are a factorisation's."""
    sampler: SamplerSettings | None = None
    loss: LossSettings | None = None
    training: TrainingSettings = MISSING
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of a script of the user's own, by the names that its command has for them; `training=script` only."""
    fault: FaultSettings | None = None
    compression: CompressionSettings | None = None
    """Settings of the compression of a trained model; `job=compression` only."""
    tracker: TrackerSettings | None = None
    own_trackers: dict[str, Any] = field(default_factory=dict)
    """Trackers of the user's own that watch the diagnosed runs besides: name -> `_target_` and settings."""
    comparison: ComparisonSettings = MISSING
    logger: dict[str, Any] = field(default_factory=dict)
    """Settings of the experiment trackers that the run is sent to, by name; each has a `_target_`."""
    rules: dict[str, Any] = field(default_factory=dict)
    """Rule book: id -> rule."""
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    seeds: SeedSettings = field(default_factory=SeedSettings)
    rounds: Annotated[int, Limit(0, 1000)] = 4
    """Number of rounds of diagnose-and-fix, at most."""
    pruning: PruningSettings = field(default_factory=PruningSettings)
    workers: Annotated[int | None, Limit(1, 1024)] = None
    """Number of processes that train the arms; null: one a core. It changes no result."""
    trial: list[str] = field(default_factory=list)
    """Overrides to prove instead of a prescription: the treated arm is the config with these, diagnosed or not."""
    tuned: str | None = None
    """Experiment whose config is the reference for `gap_closed`; null: none."""


@cache
def register() -> None:
    """Make the types known to Hydra, for the YAML files to build on, and how the folder of a sweep's job is named; let
    it read them fast. All of it is done once a process.
    """
    read_fast()
    OmegaConf.register_new_resolver("job_folder", folder_name, replace=True)
    store = ConfigStore.instance()
    store.store(name="settings", node=Settings)
    for name, node in {
        "job": JobSettings,
        "fault_benchmark": FaultBenchmarkSettings,
        "tracker_overhead": TrackerOverheadSettings,
        "layers_overhead": LayersOverheadSettings,
        "calibration": CalibrationSettings,
        "stacking": StackingSettings,
        "treatment": TreatmentSettings,
        "click_peers": ClickPeersSettings,
        "confidence": ConfidenceSettings,
        "compression_benchmark": CompressionBenchmarkSettings,
        "feature_benchmark": FeatureBenchmarkSettings,
        "feature_synergy": FeatureSynergySettings,
        "field_benchmark": FieldBenchmarkSettings,
        "ranking_soundness": RankingSoundnessSettings,
        "robustness": RobustnessSettings,
        "compression_proof": CompressionProofSettings,
        "compression": CompressionSettings,
        "movielens": MovieLensSettings,
        "insteval": InstEvalSettings,
        "ratings_csv": RatingsCsvSettings,
        "flight_sequences": FlightSequencesSettings,
        "synthetic": SyntheticSettings,
        "movielens_table": MovieLensTableSettings,
        "small_table": SmallTableSettings,
        "click_table": ClickTableSettings,
        "table_csv": TableCsvSettings,
        "task": TaskSettings,
        "factorization": FactorizationSettings,
        "neumf": NeuMFSettings,
        "network": NetworkSettings,
        "recurrent": RecurrentSettings,
        "click_model": ClickModelSettings,
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
        "click_loop": ClickLoopSettings,
        "boosting": BoostingSettings,
        "script": ScriptSettings,
        "ranking_loop": RankingLoopSettings,
        "ranking_loss": RankingLossSettings,
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
