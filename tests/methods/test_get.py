"""GET: the token for the whole picture, its fusion over layers, both controllers, gated attention."""

from __future__ import annotations

import importlib

import pytest
import torch
from captioning import features, setting
from torch import nn
from torch.nn import functional

from suite.settings import FeatureBatch
from suite.testing.contract import fit_once

get = importlib.import_module("suite.baselines.get")
layers = importlib.import_module("suite.baselines._caption_layers")

SMALL = {"width": 16, "heads": 2, "hidden": 32, "layers": 2, "beams": 3}


def network(**options) -> nn.Module:
    torch.manual_seed(0)
    return get.GetMethod(**SMALL, **options).network(setting(), features()).eval()


def test_the_global_token_is_the_mean_of_the_regions_that_are_there():
    made, batch = network(), features((3, 1))
    found = made.encoder.first(batch)
    assert torch.allclose(found[0], made.encoder.inputs.regions(batch.regions[0].mean(0)), atol=1e-6)
    assert torch.allclose(found[1], made.encoder.inputs.regions(batch.regions[1, 0]), atol=1e-6)  # not a third of it


@pytest.mark.parametrize("kinds, tokens", [("regions", 4), ("grid", 10), ("both", 13)])
def test_the_global_token_is_one_more_key_and_never_padding(kinds, tokens):
    found = network(kinds=kinds).encoder(features((3, 1)))
    assert found.tokens.shape == (2, tokens, 16) and found.present[:, 0].all() and found.whole is None
    assert not found.positions[:, 0].any()


def test_without_the_token_all_else_stays():
    made, batch = network(token=False), features((3, 1))
    found = made.encoder(batch)
    inputs = made.encoder.inputs(batch)
    assert found.tokens.shape == (2, 3, 16) and torch.equal(found.present, inputs.present) and found.whole is None
    tokens = inputs.tokens
    for layer in made.encoder.layers:
        assert layer.attention.gated
        tokens = layer(tokens, inputs.positions, inputs.present[:, None, None])
    assert torch.equal(found.tokens, tokens) and not any("fuse" in name for name, _ in made.named_parameters())
    assert network(token=False, controller="gate").layers[0].gate is None


@pytest.mark.parametrize("options", [{}, {"controller": "gate"}, {"kinds": "both"}, {"fused": False}, {"token": False}])
def test_padding_changes_nothing(options):
    made, batch = network(**options), features((3, 1))
    alone = FeatureBatch(batch.regions[1:, :1], batch.boxes[1:, :1], batch.present[1:, :1], batch.grid[1:])
    words = torch.tensor([[1, 4, 6]])
    both = made.logits(words.expand(2, -1), made.remember(*batch))
    assert torch.allclose(both[1:], made.logits(words, made.remember(*alone)), atol=1e-5)


def test_the_fused_token_is_the_lstms_last_state_over_the_layers_in_order():
    made, batch = network(), features((3, 2))
    encoder = made.encoder
    each = []
    hooks = [layer.register_forward_hook(lambda module, inputs, output: each.append(output[:, 0])) for layer in encoder.layers]
    found = encoder(batch)
    for hook in hooks:
        hook.remove()
    hidden = cell = torch.zeros(2, 16)
    weights = dict(encoder.fuse.named_parameters())
    for token in each:
        gates = (functional.linear(token, weights["weight_ih_l0"], weights["bias_ih_l0"])
                 + functional.linear(hidden, weights["weight_hh_l0"], weights["bias_hh_l0"]))
        let, keep, new, out = gates.chunk(4, 1)
        cell = keep.sigmoid() * cell + let.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
    assert len(each) == 2 and torch.allclose(found.tokens[:, 0], hidden, atol=1e-6)
    without = network(fused=False)
    assert torch.equal(without.encoder(batch).tokens[:, 0], without.encoder.layers[1](
        without.encoder.layers[0](*_inputs(without, batch)), *_inputs(without, batch)[1:])[:, 0])


def _inputs(made: nn.Module, batch: FeatureBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    found = made.encoder.inputs(batch)
    tokens = torch.cat([made.encoder.first(batch)[:, None], found.tokens], dim=1)
    present = torch.cat([torch.ones(2, 1, dtype=torch.bool), found.present], dim=1)
    return tokens, functional.pad(found.positions, (0, 0, 1, 0)), present[:, None, None]


def test_attention_ends_in_a_gated_linear_unit():
    torch.manual_seed(0)
    attention = layers.Attention(8, 2, 0.0, gated=True).eval()
    tokens = torch.randn(1, 3, 8)
    query, key, value = (part(tokens).view(3, 2, 4).transpose(0, 1) for part in (attention.query, attention.key, attention.value))
    heads = torch.softmax(query @ key.transpose(1, 2) / 2, dim=2) @ value
    first, second = attention.out(heads.transpose(0, 1).reshape(3, 8)).chunk(2, dim=1)
    found = attention(tokens, attention.memory(tokens, tokens), None)
    assert torch.allclose(found[0], first * second.sigmoid(), atol=1e-6)
    made = network()
    assert all(layer.attention.gated for layer in made.encoder.layers) and all(layer.cross.gated for layer in made.layers)
    assert not any(layer.own.gated for layer in made.layers)


def test_the_gate_adds_a_share_of_the_global_vector():
    """Words look at regions alone; with the gate shut nothing of the global vector reaches them, with it open all of it."""
    made, batch = network(controller="gate"), features((3, 1))
    found = made.encoder(batch)
    assert found.tokens.shape[1] == 3 and found.whole.shape == (2, 1, 16)
    words, memory = torch.tensor([[1, 4]] * 2), made.remember(*batch)
    other = memory._replace(whole=memory.whole.flip(2))

    def with_bias(value: float, memory) -> torch.Tensor:
        for layer in made.layers:
            nn.init.zeros_(layer.gate.weight)
            nn.init.constant_(layer.gate.bias, value)
        return made.logits(words, memory)

    assert torch.allclose(with_bias(-50.0, memory), with_bias(-50.0, other), atol=1e-6)
    assert not torch.allclose(with_bias(50.0, memory), with_bias(50.0, other), atol=1e-2)
    assert len(made(*batch)) == 2


def test_the_papers_size():
    torch.manual_seed(0)
    made = get.GetMethod().network(setting(), features(size=2048))
    assert made.encoder.layers[0].attention.out.weight.shape == (1024, 512) and len(made.encoder.layers) == len(made.layers) == 3
    assert sum(item.numel() for item in made.encoder.fuse.parameters()) == 4 * (2 * 512 * 512 + 2 * 512)
    made.logits(torch.tensor([[1, 4]] * 2), made.remember(*features(size=2048))).sum().backward()
    assert not [name for name, item in made.named_parameters() if item.grad is None]


def test_at_smoke_scale(suite_home):
    _, record = fit_once("coco_captioning", "get")
    assert record["status"] == "done"
