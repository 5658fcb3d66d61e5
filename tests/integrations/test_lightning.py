"""FlowGradCallback of Lightning: every step once, the losses as they are, the report at the end, no bit disturbed."""

import json

import pytest
import torch

from tests.kept_logger import Kept
from tests.watching_loops import STOP, alike, criterion, data, made

pl = pytest.importorskip("pytorch_lightning")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(does not have many workers|tensorboard|will be deprecated|is deprecated).*"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]

import flowgrad  # noqa: E402
from flowgrad.integrations.lightning import FlowGradCallback  # noqa: E402
from flowgrad.report import to_xml  # noqa: E402
from tests.integrations.lightning_loops import ByHand, Module, TwoByHand, fit  # noqa: E402


def seen(callback):
    return {one.name: one.value for one in callback.report.coverage.seen}


def unseen(callback):
    return {one.name: one.because for one in callback.report.coverage.unseen}


class WithoutLoss(Module):
    """Leaves out every third batch."""

    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        return None if index % 3 == 2 else loss


class InMapping(Module):
    def training_step(self, batch, index):
        return {"loss": super().training_step(batch, index), "more": 1}


class Newton(Module):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), 1.0, max_iter=2)


LOOPS = {
    "plain": ({}, 30),
    "accumulated": ({"accumulate_grad_batches": 4}, 9),
    "clipped": ({"gradient_clip_val": 0.1}, 30),
    "two epochs a validation": ({"check_val_every_n_epoch": 2}, 30),
    "by hand": ({"module": ByHand}, 30),
    "two by hand": ({"module": TwoByHand}, 30),
    "in a mapping": ({"module": InMapping}, 30),
    "cut short": ({"max_steps": 7}, 7),
    "bfloat16": ({"precision": "bf16-mixed"}, 30),
    "closures": ({"module": Newton}, 30),
}


@pytest.mark.parametrize("kind", LOOPS)
def test_every_step_is_counted_once_and_no_bit_is_changed(kind):
    settings, steps = LOOPS[kind]
    callback = FlowGradCallback(show=False)
    plain, watched = fit(**settings), fit([callback], **settings)
    assert alike(plain, watched)
    assert callback.watch.steps == steps
    assert seen(callback)["tables_observed"] == 3
    assert callback.report.findings == () or {one.type for one in callback.report.findings} <= {"OVERFITTING"}


def test_the_report_is_that_of_the_plain_loop():
    """Lightning computes gradients within the step, in a closure: what that hides is a part of what passes cost."""
    callback = FlowGradCallback(show=False)
    fit([callback])
    holder = torch.nn.Module()
    holder.inner = made()
    optimizer = torch.optim.Adam(holder.parameters(), 0.01)
    watch = flowgrad.watch(holder, optimizer, name="Module")
    (ids, labels), held_out = data(640), data(128, seed=1)
    for _ in range(3):
        for x, y in zip(ids.split(64), labels.split(64), strict=True):
            optimizer.zero_grad()
            loss = criterion(holder.inner(x), y)
            loss.backward()
            watch.log(loss=loss)
            optimizer.step()
        holder.eval()
        with torch.no_grad():
            means = [criterion(holder.inner(x), y) for x, y in zip(*(one.split(64) for one in held_out), strict=True)]
        holder.train()
        watch.end_epoch(val_loss=sum(means) / len(means))
    own = callback.watch.to_report()
    assert own.findings == watch.to_report().findings
    assert own.learning_rate == watch.to_report().learning_rate
    course = [one.value for one in own.measurements]
    assert course == pytest.approx([one.value for one in watch.to_report().measurements], rel=1e-5)


@pytest.mark.parametrize("batches", [1, 4])
def test_the_loss_is_not_divided_by_the_number_of_batches_accumulated(batches):
    """Lightning divides the loss that a callback is given."""
    callback = FlowGradCallback(show=False)
    model = fit([callback], epochs=1, accumulate_grad_batches=batches)
    losses = torch.tensor(model.losses).split(batches)
    told = {one.name: one.value for one in callback.report.measurements}
    assert seen(callback)["losses"] == 10
    assert told["loss_last"] == pytest.approx(float(losses[-1].mean()), rel=0.3)
    assert callback.watch.network.measurements().scalars["loss_last"] == pytest.approx(told["loss_last"], rel=0.3)


def test_a_step_that_a_scaler_leaves_out_is_none():
    """The loss is as it was before it was scaled."""
    from pytorch_lightning.plugins.precision import MixedPrecision

    def plugins():
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=1000)
        return [MixedPrecision("16-mixed", "cpu", scaler=scaler)]

    callback = FlowGradCallback(show=False)
    plain, watched = fit(plugins=plugins()), fit([callback], plugins=plugins())
    assert alike(plain, watched)
    assert 0 < callback.watch.steps < 30
    assert {one.name: one.value for one in callback.report.measurements}["loss_first"] < 1
    assert seen(callback)["losses"] == 30


def test_batches_without_a_loss_are_no_losses():
    callback = FlowGradCallback(show=False)
    assert alike(fit(module=WithoutLoss), fit([callback], module=WithoutLoss))
    assert seen(callback)["losses"] == 21


@pytest.mark.parametrize("name", ["val_loss", "val/loss", "valid_loss", "mine"])
def test_the_validation_loss_is_found(name):
    module = type("Named", (Module,), {"NAME": name})
    callback = FlowGradCallback(show=False, val_loss="mine" if name == "mine" else None)
    fit([callback], module=module)
    assert seen(callback)["val_losses"] == 3 == seen(callback)["epochs"]
    assert "val_loss" not in unseen(callback)


def test_a_validation_loss_of_another_name_is_asked_for():
    callback = FlowGradCallback(show=False)
    fit([callback], module=type("Named", (Module,), {"NAME": "bce"}))
    assert seen(callback)["val_losses"] == 0
    assert unseen(callback)["val_loss"] == (
        "no figure named val_loss or val/loss was logged; those logged are bce; FlowGradCallback(val_loss=NAME) says "
        "which it is"
    )


def test_several_validations_in_an_epoch_are_told_apart():
    callback = FlowGradCallback(show=False)
    fit([callback], val_check_interval=5)
    assert seen(callback)["val_losses"] == 6 == seen(callback)["epochs"]
    assert unseen(callback)["epochs"] == "6 validations in 3 epochs: each is taken for the end of an epoch"


def test_several_optimizers_by_hand_have_no_common_loss():
    callback = FlowGradCallback(show=False)
    fit([callback], module=TwoByHand)
    assert "callback.watch.log(loss=...)" in unseen(callback)["loss"]


class Fails(Module):
    def training_step(self, batch, index):
        if len(self.losses) == 17:
            raise OSError("the disk is full")
        return super().training_step(batch, index)


def test_after_an_error_the_report_is_told(capsys, tmp_path):
    callback = FlowGradCallback(path=tmp_path / "report.json")
    with pytest.raises(OSError, match="disk is full"):
        fit([callback], module=Fails)
    written = json.loads((tmp_path / "report.json").read_text())
    assert "disk is full" in str(written)
    assert seen(callback)["steps"] == 17
    assert "Fails: " in capsys.readouterr().out
    assert unseen(callback)["end"] == "the training was broken off: OSError: the disk is full"


def test_the_report_is_printed_once(capsys):
    fit([FlowGradCallback()], epochs=1)
    assert capsys.readouterr().out.count("Seen       steps 10") == 1


def test_a_checkpoint_goes_on_where_it_was(tmp_path):
    """Lightning loads the state of a callback before there is anything to watch."""
    from pytorch_lightning.callbacks import ModelCheckpoint

    def saving():
        return [ModelCheckpoint(tmp_path, save_last=True, every_n_epochs=1)], {"enable_checkpointing": True}

    whole, resumed = FlowGradCallback(show=False), FlowGradCallback(show=False)
    fit([whole], epochs=4)
    saver, settings = saving()
    fit([FlowGradCallback(show=False), *saver], epochs=2, **settings)
    saver, settings = saving()
    fit([resumed, *saver], epochs=4, checkpoint=tmp_path / "last.ckpt", **settings)
    assert resumed.watch.steps == 40
    assert to_xml(resumed.report) == to_xml(whole.report)


def test_a_checkpoint_written_after_the_training_goes_on(tmp_path):
    whole, first, resumed = (FlowGradCallback(show=False) for _ in range(3))
    fit([whole], epochs=4)
    trainer = fit([first], epochs=2).trainer
    trainer.save_checkpoint(tmp_path / "written.ckpt")
    fit([resumed], epochs=4, checkpoint=tmp_path / "written.ckpt")
    assert to_xml(resumed.report) == to_xml(whole.report)


def test_a_checkpoint_of_another_run_is_told_of(tmp_path):
    from pytorch_lightning.callbacks import ModelCheckpoint

    fit([ModelCheckpoint(tmp_path, save_last=True)], epochs=1, enable_checkpointing=True)
    callback = FlowGradCallback(show=False)
    fit([callback], epochs=2, checkpoint=tmp_path / "last.ckpt")
    assert callback.watch.steps == 10
    assert "step 10 was written without this callback" in unseen(callback)["checkpoint"]

    callback = FlowGradCallback(show=False)
    callback.load_state_dict({"something": "else"})
    fit([callback], epochs=1)
    assert callback.watch.steps == 10
    assert "this is no state of a FlowGradCallback" in unseen(callback)["checkpoint"]


class Detached(Module):
    """Cuts one table off."""

    def __init__(self):
        super().__init__()
        table = self.inner.tables[1]
        table.register_forward_hook(lambda module, args, output: output.detach())


def test_a_fault_is_found_through_lightning():
    callback = FlowGradCallback(show=False)
    fit([callback], module=Detached)
    assert "inner.tables.1" in str(callback.report.findings)


def test_a_second_training_has_a_report_of_its_own(capsys):
    callback = FlowGradCallback()
    fit([callback], epochs=1)
    fit([callback], epochs=2)
    out = capsys.readouterr().out
    assert "steps 10" in out
    assert "steps 20" in out
    assert callback.watch.steps == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "report.pdf"}, "give a file that ends in .xml, .json, .txt, .html"),
        ({"path": "no/such/report.xml"}, "make it first"),
        ({"on_findings": print}, "takes no 'on_findings'; further settings are rules, schedule"),
        ({"optimizer": None}, "takes no 'optimizer'"),
    ],
)
def test_settings_that_are_none_are_refused_at_once(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        FlowGradCallback(**settings)


def test_findings_are_told_while_it_trains():
    told = []
    callback = FlowGradCallback(
        show=False,
        looks=lambda step: step % 20 == 0,
        on_finding=lambda found: told.append((found.type, callback.watch.steps)),
    )
    fit([callback], module=Detached, epochs=8)
    assert dict(told)["PARAMETERS_WITHOUT_GRADIENT"] <= 41
    assert len(dict(told)) == len(told)


def test_an_experiment_tracker_has_it_too():
    kept = Kept()
    callback = FlowGradCallback(show=False, log_to=kept)
    fit([callback])
    assert kept.series["flowgrad/lr"][-1] == (callback.watch.steps, 0.01)
    assert len(kept.series["flowgrad/val_loss"]) == 3
    assert kept.files["flowgrad_report.xml"].encode() == to_xml(callback.report)
    with pytest.raises(ValueError, match="is no logger"):
        FlowGradCallback(log_to=3)


def test_a_finding_that_asks_for_it_ends_the_training():
    callback = FlowGradCallback(show=False, on_finding="apply", rules=STOP, looks=lambda _: False)
    fit([callback], epochs=9)
    assert [one.kind for one in callback.watch.treated] == ["stop"]
    assert callback.watch.steps < 9 * 10
