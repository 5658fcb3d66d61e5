"""Adapters of peft, beside its frozen body: those that learn are silent, and those that cannot are named."""

import pytest
import torch

import flowgrad
from tests.watching.test_adapters import Body, trained

peft = pytest.importorskip("peft")

CONFIGS = {
    "lora": lambda: peft.LoraConfig(r=4, target_modules=r"layers\.\d"),
    "dora": lambda: peft.LoraConfig(r=4, target_modules=r"layers\.\d", use_dora=True),
    "ia3": lambda: peft.IA3Config(target_modules=r"layers\.\d", feedforward_modules=[]),
    "loha": lambda: peft.LoHaConfig(r=4, target_modules=r"layers\.\d"),
}


def adapted(kind, dead=None):
    torch.manual_seed(0)
    body = Body()
    trained(body, torch.optim.Adam(body.parameters(), 0.003), 120, 0)
    model = peft.get_peft_model(body, CONFIGS[kind]())
    if dead is not None:
        model.base_model.model.layers[dead].register_forward_hook(lambda module, args, output: output.detach())
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    watch = flowgrad.watch(model, optimizer)
    trained(model, optimizer, 60, 5, watch)
    return watch


@pytest.mark.parametrize("kind", CONFIGS)
def test_adapters_that_learn_and_their_body_are_silent(kind):
    assert not adapted(kind).findings()


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_a_dead_adapter_is_named(kind):
    watch = adapted(kind, dead=2)
    (found,) = [one for one in watch.to_report().findings if one.type == "PARAMETERS_WITHOUT_GRADIENT"]
    assert found.rows.count == (2 if kind == "lora" else 1)
    assert all("layers.2." in one.id for one in found.rows.shown)
    assert "layers.2." in (
        watch.report() if kind == "lora" else watch.to_agent_xml()
    )  # what is low is a line in the text
