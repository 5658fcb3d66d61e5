"""FlowGrad finds the silent failures of a training run, prescribes a fix and proves whether it helped.

Every name is imported when it is first asked for. The trackers of networks need torch; `BoostingTracker` needs neither
xgboost nor lightgbm until it is asked for a callback of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowgrad.lazy import lazy_names

if TYPE_CHECKING:
    from flowgrad.compression import apply_recipe
    from flowgrad.compression.planning.calibration import Calibration
    from flowgrad.compression.planning.quantization import QuantizationAdvisor
    from flowgrad.compression.planning.saliency import SaliencyAnalyzer
    from flowgrad.errors import FlowGradError, ReportError, RuleError, StatisticsError
    from flowgrad.features import ClickAnalyzer, FeatureAnalyzer
    from flowgrad.prescription import Prescription, prescribe
    from flowgrad.ranking import RankingAnalyzer
    from flowgrad.report import Report, RunIdentity, RunReport
    from flowgrad.rules import Finding, Rule, RuleBook
    from flowgrad.statistics.compared import compare
    from flowgrad.trackers import BoostingTracker, TrainingTracker, joined, run_report, to_agent_xml
    from flowgrad.trackers.batches import BatchTracker
    from flowgrad.trackers.distillation import DistillationTracker
    from flowgrad.trackers.embedding import EmbeddingTracker
    from flowgrad.trackers.flow import FlowTracker
    from flowgrad.watching import Watch, watch

__version__ = "0.2.0"

__all__ = [
    "BatchTracker",
    "BoostingTracker",
    "Calibration",
    "ClickAnalyzer",
    "DistillationTracker",
    "EmbeddingTracker",
    "FeatureAnalyzer",
    "Finding",
    "FlowGradError",
    "FlowTracker",
    "Prescription",
    "QuantizationAdvisor",
    "RankingAnalyzer",
    "Report",
    "ReportError",
    "Rule",
    "RuleBook",
    "RuleError",
    "RunIdentity",
    "RunReport",
    "SaliencyAnalyzer",
    "StatisticsError",
    "TrainingTracker",
    "Watch",
    "__version__",
    "apply_recipe",
    "compare",
    "joined",
    "prescribe",
    "run_report",
    "to_agent_xml",
    "watch",
]


_OF_TORCH = {
    "BatchTracker": "flowgrad.trackers.batches",
    "Calibration": "flowgrad.compression.planning.calibration",
    "DistillationTracker": "flowgrad.trackers.distillation",
    "EmbeddingTracker": "flowgrad.trackers.embedding",
    "FlowTracker": "flowgrad.trackers.flow",
    "QuantizationAdvisor": "flowgrad.compression.planning.quantization",
    "SaliencyAnalyzer": "flowgrad.compression.planning.saliency",
    "Watch": "flowgrad.watching",
    "apply_recipe": "flowgrad.compression",
    "watch": "flowgrad.watching",
}
_HOMES = _OF_TORCH | {
    "BoostingTracker": "flowgrad.trackers",
    "ClickAnalyzer": "flowgrad.features",
    "FeatureAnalyzer": "flowgrad.features",
    "Finding": "flowgrad.rules",
    "FlowGradError": "flowgrad.errors",
    "Prescription": "flowgrad.prescription",
    "RankingAnalyzer": "flowgrad.ranking",
    "Report": "flowgrad.report",
    "ReportError": "flowgrad.errors",
    "Rule": "flowgrad.rules",
    "RuleBook": "flowgrad.rules",
    "RuleError": "flowgrad.errors",
    "RunIdentity": "flowgrad.report",
    "RunReport": "flowgrad.report",
    "StatisticsError": "flowgrad.errors",
    "TrainingTracker": "flowgrad.trackers",
    "compare": "flowgrad.statistics.compared",
    "joined": "flowgrad.trackers",
    "prescribe": "flowgrad.prescription",
    "run_report": "flowgrad.trackers",
    "to_agent_xml": "flowgrad.trackers",
}
"""Module that each name is imported from when it is first asked for."""


_find = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        if error.name != "torch" or name not in _OF_TORCH:
            raise
        raise ImportError(f"{name} needs torch: pip install 'flowgrad[torch]'") from error


def __dir__() -> list[str]:
    return __all__
