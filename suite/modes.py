"""Networks as they are deployed: in evaluation mode, and with the weights that they compute with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._pytree import tree_leaves

_COMPUTING = (BasePruningMethod, WeightNorm, SpectralNorm)  # hooks that make a weight anew before every call


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """`network` in evaluation mode; afterwards every module is in the mode it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield network
    finally:
        for module, training in modes:
            module.training = training


def computes_weights(module: nn.Module) -> bool:
    """Whether weights of the module itself are computed at every call: by parametrizations, or by hooks of ``torch.nn.utils``
    (pruning masks, weight and spectral normalisation)."""
    return parametrize.is_parametrized(module) or any(isinstance(hook, _COMPUTING) for hook in module._forward_pre_hooks.values())


def listened(module: nn.Module) -> bool:
    """Whether something else sees or changes what goes through a module: a hook, or a `forward` of this one instance."""
    before = [hook for hook in module._forward_pre_hooks.values() if not isinstance(hook, _COMPUTING)]
    return bool(before or module._forward_hooks or "forward" in vars(module))


@torch.no_grad()
def plain(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode in which all weights that `network` computes (`computes_weights`) are parameters with the values
    that result, so that it can be copied, pickled, counted and taken apart. Results of earlier calls that modules keep lose their
    gradients.
    """
    kept = [leaf for module in network.modules() for leaf in tree_leaves(vars(module)) if isinstance(leaf, Tensor)]
    network = copy.deepcopy(network, {id(leaf): leaf.detach().clone() for leaf in kept if not leaf.is_leaf}).eval()
    for module in network.modules():
        if not computes_weights(module):
            continue
        if parametrize.is_parametrized(module):
            _settle(module)
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, _COMPUTING):
                hook.remove(module)
                del module._forward_pre_hooks[key]
        for key, hook in list(module._load_state_dict_pre_hooks.items()):  # which would look for the parts of a weight
            if getattr(hook, "hook", hook).__module__.startswith("torch.nn.utils."):
                del module._load_state_dict_pre_hooks[key]
        if isinstance(module, nn.RNNBase):  # it holds its weights in a list of its own
            module._init_flat_weights()
    return network


def _settle(module: nn.Module) -> None:
    """What ``parametrize.remove_parametrizations`` does for all weights, but without touching the class, which a copy shares."""
    parts: dict[str, Any] = dict(module.parametrizations.items())  # type: ignore[union-attr, operator]
    before = parametrize.type_before_parametrizations(module)
    values = {name: part().detach().clone() for name, part in parts.items()}
    module.__class__ = before
    del module._modules["parametrizations"]
    for name, part in parts.items():
        if any(True for _ in part.parameters(recurse=False)):
            module.register_parameter(name, nn.Parameter(values[name]))
        else:
            module.register_buffer(name, values[name])
