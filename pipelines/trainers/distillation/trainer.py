"""Trains students of a teacher."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from flowgrad.drawing import picture
from flowgrad.errors import FlowGradError
from flowgrad.trackers.distillation import DistillationTracker
from pipelines.config.memory import check_parameters
from pipelines.config.schema.data import RatingsSettings, TableSettings, TaskSettings
from pipelines.config.schema.faults import LayerFaultSettings
from pipelines.config.schema.models import StudentSettings, TeacherSettings
from pipelines.config.schema.trackers import DistillationTrackerSettings
from pipelines.config.schema.training import DistillationLoopSettings, DistillationLossSettings, OptimizerSettings
from pipelines.config.targets import target
from pipelines.data.ratings import Examples
from pipelines.data.ratings import load as load_ratings
from pipelines.data.tables import load_table
from pipelines.trainers.distillation.data import Shapes, Taught, TaughtData, taught, weights_sha256
from pipelines.trainers.distillation.faults import OF_NOISE, check_fault, interfere
from pipelines.trainers.distillation.losses import KnowledgeDistillation
from pipelines.trainers.distillation.students import TRACKER, build_student, check_layers, layer_names, trained_by
from pipelines.trainers.distillation.teachers import trained_teacher
from pipelines.trainers.distillation.watching import LossHistory
from pipelines.trainers.evaluation import Evaluation
from pipelines.trainers.networks.data import Preparation, Rows
from pipelines.trainers.networks.loop import fit
from pipelines.trainers.networks.parameters import check_rates, freeze, groups
from pipelines.trainers.networks.stacking import fit_stack
from pipelines.trainers.optimizers import build_optimizer, check_optimizer
from pipelines.trainers.scoring import check_overlap, check_task, scores
from pipelines.trainers.stacking import seeds_of_a_stack
from pipelines.trainers.trainer import Trained, Trainer


class Distillation(Trainer):
    """A student that learns from a teacher's outputs; watched by `DistillationTracker`."""

    SUBJECTS = ("distillation",)
    TREATABLE = ("model", "optimizer", "training")
    PACKAGES = ("torch",)
    STEP = "epoch"
    NODES: ClassVar = {
        "teacher": (TeacherSettings, "teacher=perceptron"),
        "model": (StudentSettings, "model=student"),
        "optimizer": (OptimizerSettings, "optimizer=adam"),
        "sampler": None,
        "loss": (DistillationLossSettings, "loss=distillation"),
        "fault": (LayerFaultSettings, "fault=frozen_layer"),
        "training": (DistillationLoopSettings, "training=distillation"),
        "tracker": (DistillationTrackerSettings, "tracker=distillation"),
    }
    OPTIONAL = ("fault",)

    @abstractmethod
    def rows(self) -> tuple[str, str, Shapes, Rows, Rows, Rows]:
        """Load the source, its hash, shapes, and rows to train, to validate and to test on."""

    @abstractmethod
    def scored(self, outputs: Tensor, test: Taught) -> dict[str, float]:
        """Compute metrics of finite outputs, shape (n, outputs)."""

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        config = self.config
        for key in ("teacher.widths", "model.widths"):
            if not len(OmegaConf.select(config, key)):
                raise FlowGradError(f"{key}=[]: give units of one layer or more")
        for node, kind in (("model", build_student), ("loss", KnowledgeDistillation)):
            if target(config, node) is not kind:
                raise FlowGradError(f"{node}._target_={config[node]._target_}: a student has another; leave it out")
        if config.optimizer.sparse_gradients:
            raise FlowGradError("optimizer.sparse_gradients=true: a student's gradients are dense; set it to false")
        if config.training.treat:
            raise FlowGradError(
                "training.treat=true: the training of a student is not changed while it runs; leave it out"
            )
        check_optimizer(config)
        check_layers(config)
        check_rates(config.training, [TRACKER])
        if config.fault is not None:
            check_fault(config, layer_names(config))

    def load(self) -> TaughtData:
        """Load rows, split, and the teacher, trained on the training rows."""
        config = self.config
        source, sha256, shapes, train, validation, test = self.rows()
        self._check_shapes(shapes)
        teacher = trained_teacher(config.teacher, shapes, train, validation, config.training.threads)
        return TaughtData(
            source=f"{source}; teacher of widths {list(config.teacher.widths)}, seed {config.teacher.seed}",
            sha256=hashlib.sha256(f"{sha256} {weights_sha256(teacher)}".encode()).hexdigest(),
            shapes=shapes,
            teacher=teacher,
            train=taught(teacher, train),
            validation=taught(teacher, validation),
            test=taught(teacher, test),
        )

    def check_data(self, data: TaughtData) -> None:
        """Refuse named layers that the network lacks; see `Trainer.check_data`."""
        self._check_shapes(data.shapes)

    def _check_shapes(self, shapes: Shapes) -> None:
        config = self.config
        for node in ("teacher", "model"):
            of = config[node]
            check_parameters(f"{node}.widths, {node}.dim", partial(_parameters, shapes, list(of.widths), of.dim or 0))
        student, training = (
            build_student(config, shapes, torch.Generator().manual_seed(0)),
            trained_by(config),
        )
        freeze(student, training)
        build_optimizer(config, groups(student, training, config.optimizer.lr, TRACKER))

    def train(self, data: TaughtData, seed: int, *, watched: bool = False, observers: Any = None) -> Trained:
        """Train by the config, from `seed` alone: initial weights and order of the examples draw on streams of their
        own. `observers` makes further watchers of (data, student, optimizer).
        """
        config = self.config
        torch.set_num_threads(config.training.threads)
        init, order = _generators(seed)
        student = build_student(config, data.shapes, init)
        training = trained_by(config)
        freeze(student, training)
        optimizer = build_optimizer(config, groups(student, training, config.optimizer.lr, TRACKER))
        loss = self._loss(data)
        undo = interfere(config, student, optimizer)
        courses = (LossHistory(_tracker(config, data, student, optimizer), loss),) if watched else ()
        others = tuple(observers(data, student, optimizer)) if observers else ()
        fitted = fit(student, loss, optimizer, data.train, data.validation, training, order, (*courses, *others))
        for watching in (*courses, *others):
            watching.detach()
        undo()
        trackers = tuple(course.tracker for course in courses)
        measured = tuple(tracker.measurements() for tracker in trackers)
        losses = fitted.train_losses, fitted.validation_losses
        return Trained(student.eval(), *losses, fitted.steps, measured, trackers=trackers)

    def stack_size(self, data: TaughtData) -> int:
        """Number of seeds that are trained together; see `Trainer.stack_size`."""
        config = self.config
        if (config.fault is not None and config.fault.kind in OF_NOISE) or config.training.clip_norm is not None:
            return 1
        student = build_student(config, data.shapes, torch.Generator().manual_seed(0))
        return seeds_of_a_stack(config, sum(parameter.numel() for parameter in student.parameters()))

    def train_stack(self, data: TaughtData, seeds: Sequence[int], sooner: Sequence[DictConfig] = ()) -> list[Trained]:
        """Train the seeds as one stack of students; see `Trainer.train_stack`."""
        config, training = self.config, trained_by(self.config)
        if len(seeds) == 1 or self.stack_size(data) == 1:
            return super().train_stack(data, seeds)
        torch.set_num_threads(config.training.threads)
        inits, orders = zip(*(_generators(seed) for seed in seeds), strict=True)
        students = [build_student(config, data.shapes, init).eval() for init in inits]
        for student in students:
            freeze(student, training)
        return fit_stack(
            students,
            self._loss(data),
            lambda stack: build_optimizer(config, groups(stack, training, config.optimizer.lr, TRACKER)),
            [data.train] * len(seeds),
            [data.validation] * len(seeds),
            training,
            orders,
            list(map(trained_by, sooner)),
        )

    def evaluate(self, trained: Trained, data: TaughtData, seed: int) -> Evaluation:
        """Evaluate on the test rows, which are the same for every seed."""
        with torch.no_grad():
            outputs = trained.model(data.test.inputs)
        if not outputs.isfinite().all():
            return Evaluation(dict.fromkeys(self.metrics(), math.nan), ())
        return Evaluation(self.scored(outputs, data.test), ())

    def validating(self, data: TaughtData) -> TaughtData:
        """Put the validation rows in the place of the test rows; see `Trainer.validating`."""
        return replace(data, test=data.validation)

    def plots(self, trained: Trained) -> dict[str, bytes]:
        """Draw how alike the layers of teacher and student are, and the row table of each layer."""
        pictures = {}
        for tracker in trained.trackers:
            pictures["distillation_similarity"] = picture(tracker.similarity_figure())
            pictures["distillation_health"] = picture(tracker.health_figure())
        return pictures

    def _loss(self, data: TaughtData) -> KnowledgeDistillation:
        settings = self.config.loss
        return KnowledgeDistillation(
            temperature=settings.temperature, label_weight=settings.label_weight, classes=data.shapes.outputs > 1
        )


def _generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """Streams of a seed: initial weights, and order of the examples."""
    init, order = (
        torch.Generator().manual_seed(int(s.generate_state(1)[0])) for s in np.random.SeedSequence(seed).spawn(2)
    )
    return init, order


class TableDistillation(Distillation):
    """Perceptrons on a table of classes."""

    NODES: ClassVar = Distillation.NODES | {
        "dataset": (TableSettings, "dataset=digits"),
        "task": (TaskSettings, "task=digit"),
    }

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        config = self.config
        super().check()
        check_task(config, ["multiclass"])
        check_overlap(config)
        if config.dataset.keep != 1:
            raise FlowGradError(f"dataset.keep={config.dataset.keep}: the teacher has all rows; use dataset.keep=1")
        for key in ("teacher.dim", "model.dim"):
            if OmegaConf.select(config, key) is not None:
                raise FlowGradError(f"{key}={OmegaConf.select(config, key)}: columns are not embedded; use {key}=null")

    def rows(self) -> tuple[str, str, Shapes, Rows, Rows, Rows]:
        """Load the rows of the table; see `Distillation.rows`."""
        table = load_table(self.config)
        parts = table.parts(0)
        prepared = Preparation.of(parts[0], standardise=True, classes=True)
        train, validation, test = (prepared.rows(part) for part in parts)
        classes = int(table.table.targets[table.target].max()) + 1
        return table.source, table.sha256, Shapes(len(table.columns), classes), train, validation, test

    def metrics(self) -> tuple[str, ...]:
        """Names of metrics: distance to the teacher, and to the labels."""
        return "kl", "accuracy", "logloss"

    def scored(self, outputs: Tensor, test: Taught) -> dict[str, float]:
        """Compute metrics of finite outputs; `kl` is the mean of KL(teacher || student) at temperature 1, in nats."""
        own, other = (logits.double().log_softmax(dim=1) for logits in (outputs, test.taught))
        kl = (other.exp() * (other - own)).sum(dim=1).mean()
        return {"kl": float(kl), **scores("multiclass", test.target.numpy().astype(float), own.exp().numpy())}


class RatingDistillation(Distillation):
    """Recommenders on ratings."""

    NODES: ClassVar = Distillation.NODES | {"dataset": (RatingsSettings, "dataset=movielens_100k"), "task": None}

    def check(self) -> None:
        """Refuse values that cannot be meant; see `Trainer.check`."""
        super().check()
        for key in ("teacher.dim", "model.dim"):
            if OmegaConf.select(self.config, key) is None:
                raise FlowGradError(f"{key}=null: give the columns of the embeddings, e.g. {key}=8")

    def rows(self) -> tuple[str, str, Shapes, Rows, Rows, Rows]:
        """Load the rows of the ratings; see `Distillation.rows`."""
        data = load_ratings(self.config)
        train, validation, test = (_paired(part) for part in (data.train, data.validation, data.test))
        shapes = Shapes(0, 1, data.n_users, data.n_items, float(data.train.ratings.mean()))
        return data.source, data.sha256, shapes, train, validation, test

    def metrics(self) -> tuple[str, ...]:
        """Names of metrics: distance to the teacher, and to the ratings."""
        return "teacher_rmse", "rmse", "mae"

    def scored(self, outputs: Tensor, test: Taught) -> dict[str, float]:
        """Compute metrics of finite outputs; `teacher_rmse` is the distance to the teacher's ratings, in their unit."""
        distance = (outputs.double() - test.taught.double()).square().mean().sqrt()
        found = scores("regression", test.target.numpy().astype(float), outputs[:, 0].double().numpy())
        return {"teacher_rmse": float(distance), **found}


def _parameters(shapes: Shapes, widths: list[int], dim: int) -> int:
    """Number of weights of a student or teacher, without biases."""
    first = 2 * dim if shapes.users else shapes.inputs
    layers = [first, *widths, shapes.outputs]
    return (shapes.users + shapes.items) * dim + sum(a * b for a, b in pairwise(layers))


def _tracker(
    config: DictConfig, data: TaughtData, student: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> DistillationTracker:
    probe = data.validation.inputs[: config.tracker.probe]
    return DistillationTracker(data.teacher, student, probe=probe, optimizer=optimizer, name=TRACKER)


def _paired(examples: Examples) -> Rows:
    return Rows(torch.stack([examples.users, examples.items], dim=1), examples.ratings)
