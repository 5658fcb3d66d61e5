"""FlowGradCallback of transformers' Trainer: every step once, the loss where there is one, the report at the end."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.kept_logger import Kept
from tests.watching_loops import STOP, alike, criterion

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from flowgrad.integrations.transformers import FlowGradCallback  # noqa: E402
from flowgrad.report import to_xml  # noqa: E402
from tests.integrations.transformers_loops import Net, Summing, fit, rows, trainer  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_datasets(monkeypatch):
    """The folder `datasets` of this repository passes for Hugging Face's package."""
    monkeypatch.setattr("transformers.trainer.is_datasets_available", lambda: False)


def seen(callback):
    return {one.name: one.value for one in callback.report.coverage.seen}


def unseen(callback):
    return {one.name: one.because for one in callback.report.coverage.unseen}


def figures(callback):
    return {one.name: one.value for one in callback.report.measurements}


class Own(transformers.Trainer):
    """Computes a loss of its own, from the outputs."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = 3 * criterion(outputs["logits"], inputs["labels"])
        return (loss, outputs) if return_outputs else loss


class More(transformers.Trainer):
    """Adds a term to the model's loss."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = outputs["loss"] + sum(one.square().sum() for one in model.parameters())
        return (loss, outputs) if return_outputs else loss


def from_outputs(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.binary_cross_entropy_with_logits(outputs["logits"], labels)


LOOPS = {
    "accumulated": ({}, 30, 30),
    "plain": ({"gradient_accumulation_steps": 1, "per_device_train_batch_size": 64}, 30, 30),
    "with a remainder": ({"count": 600}, 30, 30),
    "losses that add up": ({"model": Summing}, 30, 30),
    "cut short": ({"max_steps": 7}, 7, 7),
    "a loss of a subclass": ({"kind": Own}, 30, 6),
    "a loss of a function": ({"extra": {"compute_loss_func": from_outputs}}, 30, 6),
    "more terms": ({"kind": More}, 30, 30),
    "bfloat16": ({"bf16": True}, 30, 30),
    "sgd": ({"optim": "sgd"}, 30, 30),
}


@pytest.mark.parametrize("kind", LOOPS)
def test_every_step_is_counted_once_and_no_bit_is_changed(kind, tmp_path):
    settings, steps, losses = LOOPS[kind]
    callback = FlowGradCallback(show=False)
    plain, watched = fit(tmp_path, **settings), fit(tmp_path, [callback], **settings)
    assert alike(plain, watched)
    assert callback.watch.steps == steps
    assert seen(callback)["losses"] == losses
    assert seen(callback)["val_losses"] == seen(callback)["epochs"] == (3 if steps == 30 else 1)
    assert seen(callback)["tables_observed"] == 3


@pytest.mark.parametrize("model", [Net, Summing])
@pytest.mark.parametrize("count", [640, 600])
def test_the_loss_of_a_step_is_that_of_its_rows(model, count, tmp_path):
    """A model that divides by the rows of the whole step puts out parts, which add up; another puts out means."""
    callback = FlowGradCallback(show=False)
    told, take = [], callback._model_loss.take
    callback._model_loss.take = lambda parts: told.append(take(parts)) or told[-1]
    trained = trainer(tmp_path, [callback], model=model, count=count, num_train_epochs=1)
    trained.train()
    sizes = torch.tensor([min(16, count - 16 * step) for step in range(-(-count // 16))])
    losses = torch.tensor(trained.model.losses)
    own = [
        (a * (b / b.sum() if model is Summing else 1 / len(a))).sum()
        for a, b in zip(losses.split(4), sizes.split(4), strict=True)
    ]
    assert len(own) == len(told) == 10
    assert [float(one) for one in told] == pytest.approx([float(one) for one in own], rel=1e-5)


def test_a_loss_that_is_not_trained_on_is_not_told(tmp_path):
    """The model puts one out, and backward never reaches it."""
    callback = FlowGradCallback(show=False)
    fit(tmp_path, [callback], kind=Own)
    assert figures(callback)["loss_first"] > 1.5
    assert unseen(callback)["loss"].startswith("Trainer told means alone, every 5 steps")
    callback = FlowGradCallback(show=False)
    fit(tmp_path, [callback], kind=More)
    assert "which has further terms" in unseen(callback)["loss_terms"]
    callback = FlowGradCallback(show=False)
    fit(tmp_path, [callback], kind=Own, logging_steps=500)
    assert "logging_steps=10" in unseen(callback)["loss"]


def test_evaluations_within_an_epoch_are_told_apart(tmp_path):
    callback = FlowGradCallback(show=False)
    fit(tmp_path, [callback], eval_strategy="steps", eval_steps=5)
    assert seen(callback)["val_losses"] == 6 == seen(callback)["epochs"]
    assert unseen(callback)["epochs"] == "6 validations in 3 epochs: each is taken for the end of an epoch"


@pytest.mark.parametrize("name", ["a", "b"])
def test_of_several_evaluation_sets_the_one_that_is_named_counts(name, tmp_path):
    callback = FlowGradCallback(show=False, val_loss=f"eval_{name}_loss")
    fit(tmp_path, [callback], evaluated={"a": rows(64, 1), "b": rows(64, 2)})
    assert seen(callback)["val_losses"] == 3 == seen(callback)["epochs"]
    assert "val_loss" not in unseen(callback)


def test_without_an_evaluation_epochs_are_told(tmp_path):
    callback = FlowGradCallback(show=False)
    fit(tmp_path, [callback], eval_strategy="no")
    assert seen(callback)["epochs"] == 3
    assert "eval_strategy='epoch'" in unseen(callback)["val_loss"]


def test_a_checkpoint_goes_on_where_it_was(tmp_path):
    """Trainer tells a callback neither its state nor where the checkpoint lies."""
    settings = {"save_strategy": "epoch", "save_total_limit": 2}
    whole, first, resumed = (FlowGradCallback(show=False) for _ in range(3))
    fit(tmp_path / "whole", [whole], **settings)
    fit(tmp_path / "parts", [first], num_train_epochs=2, **settings)
    made = trainer(tmp_path / "parts", [resumed], **settings)
    made.train(resume_from_checkpoint=True)
    assert resumed.watch.steps == 30
    assert to_xml(resumed.report) == to_xml(whole.report)


def test_a_checkpoint_without_it_is_told_of(tmp_path):
    fit(tmp_path, num_train_epochs=1, save_strategy="epoch")
    callback = FlowGradCallback(show=False)
    trainer(tmp_path, [callback], save_strategy="epoch").train(resume_from_checkpoint=True)
    assert callback.watch.steps == 20
    assert "there is no flowgrad.pt of step 10" in unseen(callback)["checkpoint"]


def test_the_best_checkpoint_is_loaded_after_the_report_is_made(tmp_path, capsys):
    """Weights that Trainer writes then are no rewriting of the loop's."""
    callback = FlowGradCallback()
    fit(tmp_path, [callback], load_best_model_at_end=True, save_strategy="epoch", learning_rate=0.03)
    assert capsys.readouterr().out.count("Seen       steps 30") == 1
    assert "stopped" not in callback.watch.stopped


SCRIPT = """
import sys
import transformers.trainer
transformers.trainer.is_datasets_available = lambda: False
from flowgrad.integrations.transformers import FlowGradCallback
from tests.integrations.transformers_loops import Net, trainer


class Fails(Net):
    def forward(self, ids, labels=None):
        if len(self.losses) == 37:
            raise {error}
        return super().forward(ids, labels)


trainer(sys.argv[1], [FlowGradCallback(path=sys.argv[1] + "/report.txt")], model=Fails).train()
"""


@pytest.mark.parametrize("error", ["OSError('the disk is full')", "KeyboardInterrupt"])
def test_after_an_error_the_report_is_told_when_the_process_ends(error, tmp_path):
    code = SCRIPT.replace("{error}", error)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode
    assert "Seen       steps 9" in done.stdout
    assert "the training was broken off: " + error.partition("(")[0] in (tmp_path / "report.txt").read_text()


def test_after_an_error_the_report_is_kept(tmp_path):
    class Fails(Net):
        def forward(self, ids, labels=None):
            if len(self.losses) == 37:
                raise OSError("the disk is full")
            return super().forward(ids, labels)

    callback = FlowGradCallback(show=False)
    with pytest.raises(OSError, match="disk is full"):
        fit(tmp_path, [callback], model=Fails)
    assert callback.watch.steps == 9 == seen(callback)["steps"]


class Detached(Net):
    """Cuts one table off."""

    def __init__(self):
        super().__init__()
        self.inner.tables[1].register_forward_hook(lambda module, args, output: output.detach())


def test_a_fault_is_found_through_trainer(tmp_path):
    callback = FlowGradCallback(show=False)
    fit(tmp_path, [callback], model=Detached)
    assert "inner.tables.1" in str(callback.report.findings)


def test_a_model_of_transformers(tmp_path):
    """A small encoder with its own loss, whose tables are watched."""
    settings = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    texts = torch.randint(50, (128, 8), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": text, "labels": text[0] % 2} for text in texts]
    models = []
    for callback in (None, FlowGradCallback(show=False)):
        made = trainer(
            tmp_path, [callback] if callback else [], count=1,
            model=lambda: transformers.BertForSequenceClassification(settings),
            evaluated=data[:32], num_train_epochs=2, learning_rate=1e-3,
        )  # fmt: skip
        made.train_dataset = data
        made.train()
        models.append(made.model)
    assert alike(*models)
    assert seen(callback)["steps"] == 4 == seen(callback)["losses"]
    assert seen(callback)["tables"] == 3


def test_an_experiment_tracker_has_it_too(tmp_path):
    kept = Kept()
    callback = FlowGradCallback(show=False, log_to=kept)
    fit(tmp_path, [callback])
    assert kept.series["flowgrad/lr"][-1] == (callback.watch.steps, 0.01)
    assert len(kept.series["flowgrad/val_loss"]) == 3
    assert kept.files["flowgrad_report.xml"].encode() == to_xml(callback.report)
    with pytest.raises(ValueError, match="is no logger"):
        FlowGradCallback(log_to=3)


def test_a_finding_that_asks_for_it_ends_the_training(tmp_path):
    callback = FlowGradCallback(show=False, on_finding="apply", rules=STOP, looks=lambda _: False)
    fit(tmp_path, [callback], num_train_epochs=9)
    assert [one.kind for one in callback.watch.treated] == ["stop"]
    assert callback.watch.steps < 9 * 10
