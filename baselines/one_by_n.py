"""1xN block sparsity: blocks of N consecutive output kernels that read one input channel are kept or removed as a whole.

Lin, Zhang, Li, Chen, Chao, Wang, Li, Wu, Tian, Ji: "1xN Pattern for Pruning Convolutional Neural Networks", IEEE TPAMI
2023. Sections 1.1 to 1.7 below are those of the method's description: blocks, L1 score (1.2), a floor(p * G * Ci) selection
per layer (1.3), both in `suite.nn.selection`; filters rearranged by L1 norm first, fine-tuning under the fixed mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._pruning import PruningMethod
from torch import Tensor, nn

from suite.contract import Claim, Paper, Published, Side, option
from suite.nn import Prunable, permute
from suite.nn.selection import block_mask
from suite.run import Run


@dataclass
class OneByNMethod(PruningMethod):
    """The rearrangement is carried out physically before pruning: the function is unchanged and blocks are contiguous."""

    paper = Paper("1xN Pattern for Pruning Convolutional Neural Networks", "Lin, Zhang, Li, Chen, Chao, Wang, Li, Wu, Tian, Ji",
                  "IEEE TPAMI", 2023, "https://arxiv.org/abs/2105.14713")
    tags = ("cnn/pruning-block",)
    standins = (
        "A ragged last group (N not dividing Co) is padded in storage and its score multiplied by N/r, importance per kernel.",
        "Downsampling convolutions are pruned but not rearranged: they write a residual stream.",
    )
    published = tuple(
        Published("imagenet", "top1", top1, "README, Table 1", {"arch": "mobilenet_v2", "n": n, "sparsity": 0.5})
        for n, top1 in ((2, 70.233), (8, 69.372), (16, 69.352), (32, 68.762))
    ) + tuple(
        Published("imagenet", "top1", top1, "plotting data", {"arch": "resnet50", "n": n, "sparsity": 0.5})
        for n, top1 in ((2, 76.654), (4, 76.506), (8, 76.146), (16, 76.254), (32, 75.960))
    )

    n: int = option(4, "kernels in a block; 1 is kernel pruning", choices=(1, 2, 4, 8, 16, 32))
    rearrange: bool = option(True, "sort filters by L1 norm before forming blocks")

    def prepare(self, network: nn.Module, layers: list[Prunable]) -> None:
        """1.4 and 1.6: order the filters of a layer by L1 norm, and with them all that follows these channels."""
        for layer in layers if self.rearrange else ():
            if layer.rearrange and layer.stream is not None:
                weight = getattr(network.get_submodule(layer.name), layer.parameter).detach()
                norms = weight.flatten(1).abs().sum(1)
                permute(network, layer.stream, norms.argsort(descending=True, stable=True))

    def mask(self, weight: Tensor, run: Run, name: str) -> Tensor:
        return block_mask(weight, self.n, self.sparsity)


def _claims() -> tuple[Claim, ...]:
    found = []
    for sparsity in (0.75, 0.9):
        common = {"task": "cifar10", "options": {"sparsity": sparsity}, "held_equal": (("total", 0.0), ("final", 0.0))}
        ours, tag = Side("one_by_n", {"n": 4}), f"at {sparsity:.0%}"
        plain_order = Side("one_by_n", {"n": 4, "rearrange": False})
        found += [
            Claim(f"1a {tag}", f"1x4 is more accurate than L1 filter pruning {tag}", value="top1", kind="above",
                  sides=(ours, Side("l1_filter")), **common),
            Claim(f"1b {tag}", f"unstructured pruning is at least as accurate as 1x4 {tag} (within half a point of noise)",
                  value="top1", kind="above", sides=(Side("magnitude"), ours), margin=-0.5, **common),
            Claim(f"1c {tag}", f"accuracy falls as N grows over 1, 4, 16 {tag} (within half a point of noise)", value="top1",
                  kind="ordered", sides=tuple(Side("one_by_n", {"n": n}) for n in (1, 4, 16)), margin=-0.5, **common),
            Claim(f"2a {tag}", f"rearrangement keeps more L1 mass {tag}, averaged over layers", value="note.retained_l1",
                  kind="above", sides=(ours, plain_order), **common),
            Claim(f"2b {tag}", f"rearrangement raises accuracy before fine-tuning {tag}",
                  value="note.top1_before_finetuning", kind="above", sides=(ours, plain_order), **common),
            Claim(f"3a {tag}", f"1x4 {tag} is faster than the dense network in the same kernel, one thread",
                  value="profile.latency.one.speedup", kind="above", sides=(ours,), bound=1.0, **common),
            Claim(f"3b {tag}", f"1x4 {tag} gains more over dense than unstructured zeros of equal share run as N = 1",
                  value="profile.latency.one.speedup", kind="above", sides=(ours, Side("magnitude")), **common),
            Claim(f"3c {tag}", f"1x4 {tag} gains more over torch eager than unstructured zeros of equal share, run as N = 1",
                  value="profile.latency.one.speedup_torch", kind="above", sides=(ours, Side("magnitude")), **common),
        ]
    return tuple(found)


OneByNMethod.claims = _claims()
