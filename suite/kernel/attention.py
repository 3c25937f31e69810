"""Self-attention taken apart, so that its projections are linear layers that a plan can take."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from suite.modes import listened


class SelfAttention(nn.Module):
    """``nn.MultiheadAttention`` in evaluation mode, as two linear layers around the scaled dot product.

    A call that is more than plain self-attention (other keys, masks, wanted weights) goes to the original.
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.original = original
        self.in_proj = nn.Linear(original.embed_dim, 3 * original.embed_dim, bias=original.in_proj_bias is not None)
        self.in_proj.weight, self.in_proj.bias = original.in_proj_weight, original.in_proj_bias
        self.out_proj = nn.Linear(original.embed_dim, original.embed_dim, bias=original.out_proj.bias is not None)
        self.out_proj.weight, self.out_proj.bias = original.out_proj.weight, original.out_proj.bias

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of an attention module (its weights, the number of heads) is the original's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("original"), name)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """(1, T, C) to (1, T, C), with no weights beside it."""
        if query is not key or query is not value or args or kwargs != {"need_weights": False}:
            return self.original(query, key, value, *args, **kwargs)
        heads = (3, self.original.num_heads, self.original.head_dim)
        parts = self.in_proj(query).unflatten(-1, heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


def open_attention(network: nn.Module) -> None:
    """Replace, in place, every self-attention that `SelfAttention` can express."""
    for name, module in list(network.named_modules()):
        if type(module) is nn.MultiheadAttention and module.batch_first and module.in_proj_weight is not None \
                and module.bias_k is None and not module.add_zero_attn and not listened(module):
            network.set_submodule(name, SelfAttention(module))
