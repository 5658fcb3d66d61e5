"""`flowgrad.watch` beside Accelerate, whose optimizer wraps the one that steps."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import flowgrad
from tests.watching_loops import alike, criterion, data, made

accelerate = pytest.importorskip("accelerate")


def parts(batches=1):
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=batches)
    model = made()
    loader = DataLoader(TensorDataset(*data(600)), batch_size=64)
    return accelerator, *accelerator.prepare(model, torch.optim.Adam(model.parameters(), 0.01), loader)


def train(accelerator, model, optimizer, loader, watch=None, epochs=2):
    for _ in range(epochs):
        for ids, labels in loader:
            with accelerator.accumulate(model):
                loss = criterion(model(ids), labels)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            if watch is not None:
                watch.log(loss=loss)
        if watch is not None:
            watch.end_epoch()
    return model


@pytest.mark.parametrize(("batches", "steps"), [(1, 20), (4, 6)])
def test_every_step_is_counted_once_and_no_bit_is_changed(batches, steps):
    """Ten batches are three steps of four and of what is left; Accelerate steps at the end of the loader."""
    plain = train(*parts(batches))
    accelerator, model, optimizer, loader = parts(batches)
    watch = flowgrad.watch(model, optimizer)
    assert alike(plain, train(accelerator, model, optimizer, loader, watch))
    seen = {one.name: one.value for one in watch.to_report().coverage.seen}
    assert (seen["steps"], seen["losses"], seen["epochs"]) == (steps, 20, 2)
    assert not [one for one in watch.to_report().findings if one.type != "OVERFITTING"]


def test_a_step_that_a_scaler_leaves_out_is_none():
    from accelerate.optimizer import AcceleratedOptimizer

    counts = []
    for watched in (False, True):
        model = made()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
        optimizer = AcceleratedOptimizer(torch.optim.Adam(model.parameters(), 0.01), scaler=scaler)
        watch = flowgrad.watch(model, optimizer) if watched else None
        ids, labels = data(64)
        taken = 0
        for step in range(12):
            optimizer.zero_grad()
            weight = 1e3 if step % 4 == 0 else 1.0  # which is too much for the scale
            scaler.scale(weight * criterion(model(ids), labels)).backward()
            optimizer.step()
            taken += not optimizer.step_was_skipped
        counts.append((taken, model))
    assert alike(counts[0][1], counts[1][1])
    assert 0 < counts[1][0] < 12
    assert watch.steps == counts[1][0]


def test_its_checkpoints_take_a_watch_along(tmp_path):
    reports = []
    for halves in (False, True):
        accelerator, model, optimizer, loader = parts()
        watch = flowgrad.watch(model, optimizer)
        accelerator.register_for_checkpointing(watch)
        if halves:
            train(accelerator, model, optimizer, loader, watch, epochs=1)
            accelerator.save_state(tmp_path)
            accelerator, model, optimizer, loader = parts()
            watch = flowgrad.watch(model, optimizer)
            accelerator.register_for_checkpointing(watch)
            accelerator.load_state(tmp_path)
            train(accelerator, model, optimizer, loader, watch, epochs=1)
        else:
            train(accelerator, model, optimizer, loader, watch, epochs=2)
        reports.append(watch.to_agent_xml())
    assert reports[0] == reports[1]
