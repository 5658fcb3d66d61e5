"""Selects the columns that a booster sees: those of its table, with terms added and columns dropped as the config
says.
"""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from flowgrad.errors import FlowGradError
from flowgrad.features import FeatureAnalyzer
from flowgrad.features.terms import Term, parse_term
from pipelines.data.tables import Part

TRACKER = "booster"
"""Name of the tracker, whose findings name columns to drop."""
_STATED = ("written_after", "known_in_time")
ANALYZER = "features"
"""Name of the analyzer, whose findings name terms to add."""


def check_columns(config: DictConfig, known: Sequence[str]) -> None:
    """Refuse columns to drop or to state facts of, and terms to add, that a table of the columns `known` cannot give.

    Raises:
        FlowGradError: the message names the key and the column.
    """
    for key, name in (("dropped_columns", TRACKER), ("added_columns", ANALYZER)):
        for other in config.training[key]:
            if other != name:
                raise FlowGradError(f"training.{key} names {other!r}; what is watched is {name!r}")
    added = [term.name for term in _terms(config, known)]
    dropped = _dropped(config)
    for name in dropped:
        if name not in known and name not in added:
            raise FlowGradError(f"training.dropped_columns.{TRACKER} names {name!r}, which the table lacks")
    for key in _STATED:
        for name in config.tracker[key]:
            if name not in known and name not in added:
                raise FlowGradError(f"tracker.{key} names {name!r}, which the table lacks")
    if not {*known, *added} - {*dropped}:
        raise FlowGradError(f"training.dropped_columns.{TRACKER} leaves no column; list fewer")


def select_columns(part: Part, config: DictConfig) -> Part:
    """Select the columns of the part that the booster sees; terms are computed before anything is dropped."""
    terms, dropped = _terms(config, [str(name) for name in part.features]), _dropped(config)
    if not terms and not dropped:
        return part
    features = part.features.copy()
    for term in terms:  # one may be made of those before it
        features[term.name] = term.values(features)
    return part._replace(features=features.drop(columns=dropped))


def stated(config: DictConfig, part: Part) -> dict[str, list[str]]:
    """Facts that the config states of the columns that the booster sees, for `BoostingTracker.observe_data`."""
    return {key: [name for name in config.tracker[key] if name in part.features] for key in _STATED}


def without_gaps(part: Part) -> Part:
    """Replace each missing value of the part by its column's median: linear models take none. A column without any
    value is left out.
    """
    features = part.features.dropna(axis="columns", how="all")
    return part._replace(features=features.fillna(features.median()))


def analyzer_of(part: Part, seed: int) -> FeatureAnalyzer:
    """Make the analyzer of the part's columns, gaps filled, and of its rows by group."""
    whole = without_gaps(part)
    return FeatureAnalyzer(whole.features, whole.target, groups=whole.groups, name=ANALYZER, seed=seed)


def _terms(config: DictConfig, columns: Sequence[str]) -> list[Term]:
    known, terms = list(columns), []
    for name in config.training.added_columns.get(ANALYZER, []):
        if name in known:
            raise FlowGradError(f"training.added_columns.{ANALYZER} names {name!r}, which is there already")
        try:
            terms.append(parse_term(name, known))
        except FlowGradError as error:
            raise FlowGradError(f"training.added_columns.{ANALYZER}: {error}") from error
        known.append(name)
    return terms


def _dropped(config: DictConfig) -> list[str]:
    return list(config.training.dropped_columns.get(TRACKER, []))
