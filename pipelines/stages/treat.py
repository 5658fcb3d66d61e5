"""Makes rounds of diagnose, fix, diagnose again, all on the diagnosis seed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from omegaconf import DictConfig

from flowgrad.prescription import Prescription, plain_value
from pipelines.config.compose import composed, key_of, trains_alike, treated, with_overrides
from pipelines.stages.diagnose import Diagnosis, diagnose
from pipelines.stages.experiment import Experiment
from pipelines.stages.pruned import Pruned

_logger = logging.getLogger(__name__)
LEFT_OUT = "was tried, and left out again: it does not earn its place on validation data"
"""The reason why a fix is not prescribed again."""
_NOTHING = "changes nothing that is trained, beside the other settings"


def treat(experiment: Experiment, on_round: Callable[[Diagnosis], None] = lambda _: None) -> tuple[Diagnosis, ...]:
    """Diagnose and fix until nothing is prescribed, at most `config.rounds` times.

    Returns:
        One diagnosis more than there are prescriptions: the last is of the treated config. Its own prescription is
        not applied; it is not empty only where the rounds ran out. Where `config.trial` names a change, that is the
        only one.
    """
    config = experiment.config
    diagnoses = [diagnose(experiment, 1)]
    if config.trial:
        diagnoses[0] = replace(diagnoses[0], prescription=_given(config))
    on_round(diagnoses[-1])
    if config.trial:
        changes = [*diagnoses[0].prescription.overrides, "trial=[]"]  # the change is made, and no more to be tried
        overrides = tuple(with_overrides(diagnoses[0].overrides, changes))
        tried = diagnose(experiment.changed(composed(overrides), overrides), 2)
        diagnoses.append(replace(tried, prescription=Prescription((), (), {})))
        on_round(diagnoses[-1])
        return tuple(diagnoses)
    while diagnoses[-1].prescription and len(diagnoses) <= config.rounds:
        last, fix = diagnoses[-1], diagnoses[-1].prescription.overrides
        changed = treated(last.config, last.overrides, fix)
        if trains_alike(last.config, changed):
            _logger.warning("%s: %s", last.prescription.shell, _NOTHING)
            diagnoses[-1] = replace(last, prescription=_none_of(last.prescription))
            break
        overrides = tuple(with_overrides(last.overrides, fix))
        diagnoses.append(diagnose(experiment.changed(changed, overrides), len(diagnoses) + 1))
        on_round(diagnoses[-1])
    return tuple(diagnoses)


def treat_with(
    diagnoses: Sequence[Diagnosis], pruned: Pruned, on_config: Callable[[DictConfig], None] = lambda _: None
) -> Diagnosis:
    """Diagnose the config with what is kept. Nothing of what was dropped is prescribed again: a finding says so.

    Args:
        diagnoses: those of the rounds.
        pruned: what is kept of them.
        on_config: called with the config before it is diagnosed.
    """
    first = diagnoses[0]
    config = treated(first.config, first.overrides, pruned.kept)
    on_config(config)
    overrides = tuple(with_overrides(first.overrides, pruned.kept))
    found = diagnose(first.experiment.changed(config, overrides), len(diagnoses) + 1)
    told, gone = found.prescription, {key_of(override) for override in pruned.dropped}
    again = {rule for rule, changes in told.by_rule.items() if {change.path for change in changes} <= gone}
    if not again:
        return found
    by_rule = {rule: changes for rule, changes in told.by_rule.items() if rule not in again}
    paths = {change.path for changes in by_rule.values() for change in changes}
    return replace(
        found,
        prescription=Prescription(
            tuple(one for one in told.overrides if key_of(one) in paths),
            tuple(rule for rule in told.rules if rule not in again),
            {path: was for path, was in told.was.items() if path in paths},
            by_rule,
            {**told.overruled, **dict.fromkeys(again, LEFT_OUT)},
        ),
    )


def _none_of(prescription: Prescription) -> Prescription:
    """Make an empty prescription with its reason: to prove this one would be to prove a config against itself."""
    return Prescription((), (), {}, overruled={**prescription.overruled, **dict.fromkeys(prescription.rules, _NOTHING)})


def _given(config: DictConfig) -> Prescription:
    """Make the change that the config asks to be proven a prescription."""
    paths = [override.partition("=")[0].lstrip("+~") for override in config.trial]
    return Prescription(tuple(config.trial), (), {path: plain_value(config, path) for path in paths})
