"""Checks configs beyond their types, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowgrad.errors import FlowGradError, RuleError
from flowgrad.evidence.confidence import posterior
from flowgrad.prescription import prescribe
from flowgrad.rules import Finding, RuleBook
from flowgrad.statistics import LEAST_PAIRS
from pipelines.config.command_line import one_line
from pipelines.config.compose import composed, key_of, trains_alike, treated, tuned_overrides, with_overrides
from pipelines.config.plain import may_lack
from pipelines.config.targets import NODES, target
from pipelines.config.values import check_values
from pipelines.stages.plan_seeds import is_auto
from pipelines.stages.told_findings import check_names
from pipelines.trainers.own_trackers import own_trackers, subjects_of
from pipelines.trainers.trainer import trainer_of

_COMPRESSES = "pipelines.jobs.compression."
"""Prefix of jobs that take the node `compression`."""
_TRY = ("pipelines.jobs.closed_loop.run", "pipelines.jobs.feature_synergy.job.run", "pipelines.jobs.search.run")
"""Jobs that prove a trial, and the search, which goes over the configs of such."""
_PROOF = ("dataset", "task", "teacher", "seeds", "comparison")
"""Nodes that a trial may not change: the arms of one comparison share them."""


def check_settings(config: DictConfig) -> None:
    """Refuse values that cannot be meant.

    Raises:
        FlowGradError: the message names the key, the value and what would be right.
    """
    for node in ("job", "training", "comparison"):
        if config[node] is None:
            raise FlowGradError(f"{node} is missing; choose one, e.g. leave out {node}=null")
    check_values(config)
    trainer = trainer_of(config)
    trainer.check_nodes()
    for key in sorted(_missing(config)):
        raise FlowGradError(f"{key} is missing; give it as {key}=VALUE")
    for node in NODES:
        if config[node] is not None:
            target(config, node)
    trainer.check()
    if config.compression is not None and not config.job._target_.startswith(_COMPRESSES):
        raise FlowGradError("compression: this job trains models and compresses none; choose job=compression")
    if config.trial and config.job._target_ not in _TRY:
        raise FlowGradError(
            f"trial={list(config.trial)}: this job tries nothing; leave it out, or choose job=closed_loop"
        )
    if not re.fullmatch(r"[\w.-]+", config.name) or set(config.name) == {"."}:
        raise FlowGradError(f"name={config.name!r}: use letters, digits, `_`, `-` and `.`; it names the run folder")
    if own_trackers(config) and config.job._target_ not in _TRY:
        raise FlowGradError("own_trackers: this job diagnoses no run; leave it out, or choose job=closed_loop")
    _check_metrics(config)
    _check_seeds(config)


def _missing(config: DictConfig) -> Iterator[str]:
    """Keys without a value, save those of the rules, which have a validator of their own and are most of a config."""
    for key in map(str, config):
        if OmegaConf.is_missing(config, key):
            yield key
        elif key != "rules" and OmegaConf.is_config(config[key]) and may_lack(config[key]):
            yield from OmegaConf.missing_keys(config[key])


def check_fixes(config: DictConfig, task: Sequence[str], book: RuleBook) -> None:
    """Try every fix of the rule book on the config, one at a time, as a prescription would apply it.

    Raises:
        RuleError: a fix that leads to a config that cannot run, or that would change a node that the proof rests on.
    """
    trainer, subjects = trainer_of(config), subjects_of(config)
    if OmegaConf.select(config, "training.fixes"):
        check_names(config.training.fixes, book)
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "rules"])  # they are most of it
    for rule in book.values():
        if rule.fix is None or rule.subject not in subjects:
            continue
        where = f"{rule.source}: rule {rule.id!r}: its fix"
        for path in rule.fix.paths:
            if path.partition(".")[0] not in trainer.TREATABLE:
                allowed = ", ".join(trainer.TREATABLE)
                raise RuleError(f"{where} sets {path!r}; a fix may change {allowed} and nothing else")
            if path not in rule.fix.rows and OmegaConf.is_config(OmegaConf.select(config, path)):
                raise RuleError(f"{where} sets the group {path!r}; name the keys below it")
        known = replace(rule.fix, copy={}, rows=())  # what these will be is measured later
        finding = Finding(rule.id, rule.type, rule.severity, "", "", "", "", "", posterior(), fix=known)
        try:
            prescription = prescribe([finding], config)
            if prescription:
                check_settings(treated(config, task, prescription.overrides))
        except (FlowGradError, HydraException, OmegaConfBaseException) as error:
            raise RuleError(f"{where} cannot be applied: {one_line(error)}") from error


def check_trial(config: DictConfig, task: Sequence[str]) -> None:
    """Try the change that `config.trial` names, so that a mistake in it shows before anything is trained.

    Raises:
        FlowGradError: it leads to a config that cannot run, or would change a node that the proof rests on.
    """
    if not config.trial:
        return
    keys = [key_of(override) for override in config.trial]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise FlowGradError(f"trial={list(config.trial)} sets {twice} twice; give one value")
    for override in config.trial:
        if override.lstrip("+~").partition("=")[0].partition(".")[0] in _PROOF:
            raise FlowGradError(f"trial: {override} changes what the proof rests on ({', '.join(_PROOF)})")
    try:
        changed = composed(with_overrides(task, list(config.trial)))
        check_settings(changed)
    except (FlowGradError, HydraException, OmegaConfBaseException) as error:
        raise FlowGradError(f"trial={list(config.trial)}: {one_line(error)}") from error
    if trains_alike(config, changed):
        raise FlowGradError(
            f"trial={list(config.trial)} changes nothing that is trained: the config would be proven against itself; "
            "give another value of model, optimizer, sampler, loss or training"
        )


def check_tuned(config: DictConfig, task: Sequence[str]) -> DictConfig | None:
    """Compose the config of the tuned arm, where there is one.

    Raises:
        FlowGradError: there is no such experiment, it cannot run, or it is of other data or another kind of model.
    """
    if config.tuned is None:
        return None
    where = f"tuned={config.tuned}"
    try:
        tuned = composed(tuned_overrides(task, config.tuned), rules=False)
        check_settings(tuned)
    except (ValueError, HydraException, OmegaConfBaseException) as error:  # Hydra raises plain ones of names too
        raise FlowGradError(f"{where}: {one_line(error)}") from error
    own, other = type(trainer_of(config)).__name__, type(trainer_of(tuned)).__name__
    if own != other:
        raise FlowGradError(
            f"{where} trains by {other} and this config by {own}; name an experiment of its kind, or null"
        )
    for node in ("dataset", "task", "teacher"):
        if config[node] != tuned[node]:
            raise FlowGradError(f"{where} has another {node}: its arm would be trained on data that are not its own")
    known = trainer_of(tuned).metrics()
    for metric in config.comparison.metrics:
        if metric not in known:
            raise FlowGradError(f"{where} gives no {metric!r} but {', '.join(known)}; name another experiment, or null")
    return tuned


def _check_metrics(config: DictConfig) -> None:
    known = trainer_of(config).metrics()
    metrics = config.comparison.metrics
    if not metrics:
        raise FlowGradError(f"comparison.metrics is empty; choose from {', '.join(known)}")
    for metric in metrics:
        if metric not in known:
            raise FlowGradError(f"comparison.metrics names {metric!r}; what is evaluated here gives {', '.join(known)}")


def _check_seeds(config: DictConfig) -> None:
    if is_auto(config):
        _check_auto(config)
        test = list(range(config.seeds.auto.first, config.seeds.auto.first + config.seeds.auto.most))
    elif OmegaConf.is_list(config.seeds.test) and all(type(seed) is int for seed in config.seeds.test):
        test = list(config.seeds.test)
    else:
        raise FlowGradError(f"seeds.test={config.seeds.test}: must be a list of whole numbers, or auto")
    offset = config.comparison.aa_offset
    if len(test) < 2:
        raise FlowGradError(f"seeds.test={test}: a paired test needs at least 2 seeds (10 or more are advised)")
    control = {seed + offset for seed in test}
    if shared := control & set(test):
        raise FlowGradError(f"comparison.aa_offset={offset}: seed {min(shared)} would stand in both arms of A/A")
    if config.seeds.diagnosis in {*test, *control}:
        raise FlowGradError(
            f"seeds.diagnosis={config.seeds.diagnosis} is also a seed of the proof (seeds.test, or that plus "
            "comparison.aa_offset); diagnosis and proof may not share one"
        )
    _check_pruning(config, {*test, *control})
    pilot = {seed + shift for seed in config.seeds.auto.pilot for shift in (0, offset)}
    if is_auto(config) and (shared := {*test, *control, config.seeds.diagnosis} & pilot):
        raise FlowGradError(
            f"seeds.auto.pilot (or that plus comparison.aa_offset) holds {min(shared)}, which is a seed of the "
            "diagnosis or of the proof (seeds.auto.first and those that follow, or that plus comparison.aa_offset)"
        )


def _check_pruning(config: DictConfig, proof: set[int]) -> None:
    """Refuse seeds of pruning that are seeds of the diagnosis, a pilot or the proof."""
    if not config.pruning.enabled:
        return
    pruning = list(config.seeds.pruning)
    if len(pruning) < LEAST_PAIRS:
        raise FlowGradError(
            f"seeds.pruning={pruning}: give {LEAST_PAIRS} seeds or more, or leave nothing out with "
            "pruning.enabled=false"
        )
    pilot = config.seeds.auto.pilot if is_auto(config) else ()
    if shared := {*proof, config.seeds.diagnosis, *pilot} & set(pruning):
        raise FlowGradError(
            f"seeds.pruning holds {min(shared)}, which is a seed of the diagnosis, of the pilot or of the proof "
            "(seeds.test, or that plus comparison.aa_offset); what is chosen on a seed may not be proven on it"
        )


def _check_auto(config: DictConfig) -> None:
    auto, alpha = config.seeds.auto, config.comparison.alpha
    if len(auto.pilot) < 3:
        raise FlowGradError(f"seeds.auto.pilot={list(auto.pilot)}: give three seeds or more")
    if auto.power <= alpha:
        raise FlowGradError(f"seeds.auto.power={auto.power}: must be above comparison.alpha={alpha}")
    if auto.least > auto.most:
        raise FlowGradError(f"seeds.auto.least={auto.least}: must be at most seeds.auto.most={auto.most}")
