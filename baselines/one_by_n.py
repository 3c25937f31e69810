"""1xN block sparsity: blocks of N consecutive output kernels that read one input channel are kept or removed as a whole.

Lin, Zhang, Li, Chen, Chao, Wang, Li, Wu, Tian, Ji: "1xN Pattern for Pruning Convolutional Neural Networks", IEEE TPAMI
2023. Sections 1.1 to 1.7 below are those of the method's description: blocks, L1 score (1.2), a floor(p * G * Ci) selection
per layer (1.3), both in `suite.nn.selection`; filters rearranged by L1 norm first, fine-tuning under the fixed mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._pruning import PruningMethod
from torch import Tensor, nn

from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, option
from suite.nn import Prunable, permute
from suite.nn.selection import block_mask

OURS, IN_ORDER = Side("one_by_n", {"n": 4}), Side("one_by_n", {"n": 4, "rearrange": False})
EQUAL = (("total", 0.0), ("final", 0.0))


@dataclass
class OneByNMethod(PruningMethod):
    """The rearrangement is carried out physically before pruning: the function is unchanged and blocks are contiguous."""

    paper = Paper("1xN Pattern for Pruning Convolutional Neural Networks", "Lin, Zhang, Li, Chen, Chao, Wang, Li, Wu, Tian, Ji",
                  "IEEE TPAMI", 2023, "https://arxiv.org/abs/2105.14713")
    tags = ("cnn/pruning-block",)
    standins = (
        *PruningMethod.standins,
        "A ragged last group (N not dividing Co) is padded in storage and its score multiplied by N/r, importance per kernel.",
        "Downsampling convolutions are pruned but not rearranged: they write a residual stream.",
    )
    published = tuple(
        Published("imagenet", "top1", top1, where, {"arch": arch, "n": n, "sparsity": 0.5})
        for arch, n, top1, where in (
            ("mobilenet_v2", 2, 70.233, "README, Table 1"),
            ("mobilenet_v2", 4, 69.426, "plotting data; README, Table 1 misprints 60.706"),
            ("mobilenet_v2", 8, 69.372, "README, Table 1"), ("mobilenet_v2", 16, 69.352, "README, Table 1"),
            ("mobilenet_v2", 32, 68.762, "README, Table 1"), ("resnet50", 2, 76.654, "plotting data"),
            ("resnet50", 4, 76.506, "plotting data"), ("resnet50", 8, 76.146, "plotting data"),
            ("resnet50", 16, 76.254, "plotting data"), ("resnet50", 32, 75.960, "plotting data"))
    )
    # The first claims keep the paper's comparison, the same share of zeros in the same layers; the last is what is deployed.
    claims = (
        *(Claim(f"{name} at {sparsity:.0%}", sentence.format(f"{sparsity:.0%}"), "cifar10", value, kind, sides, bound=bound,
                margin=margin, options={"sparsity": sparsity}, held_equal=EQUAL)
          for name, at, sentence, value, kind, sides, bound, margin in (
              ("1a equal sparsity, the paper's protocol,", (0.5, 0.75, 0.9), "1x4 is more accurate than masked L1 filters at {}",
               "top1", "above", (OURS, Side("l1_filter", {"masked": True})), None, 0.0),
              ("1b", (0.5, 0.75, 0.9), "unstructured pruning is at least as accurate as 1x4 at {} (within half a point of noise)",
               "top1", "above", (Side("magnitude"), OURS), None, -0.5),
              ("1c", (0.75, 0.9), "accuracy falls as N grows over 1, 4, 16 at {} (within half a point of noise)",
               "top1", "ordered", tuple(Side("one_by_n", {"n": n}) for n in (1, 4, 16)), None, -0.5),
              ("2a", (0.75, 0.9), "rearrangement keeps more L1 mass at {}, averaged over layers",
               "note.retained_l1", "above", (OURS, IN_ORDER), None, 0.0),
              ("2b", (0.75, 0.9), "rearrangement raises accuracy at {}, after fine-tuning",
               "top1", "above", (OURS, IN_ORDER), None, 0.0),
              ("3a", (0.75, 0.9), "1x4 at {} is faster than the dense network in the same kernel, one thread",
               "profile.latency.one.speedup", "above", (OURS,), 1.0, 0.0),
              ("3b", (0.75, 0.9), "1x4 at {} gains more over dense than unstructured zeros of equal share run as N = 1",
               "profile.latency.one.speedup", "above", (OURS, Side("magnitude")), None, 0.0))
          for sparsity in at),
        Claim("4 equal latency", "Our question, not the paper's: where both take 40 % of the dense network's measured time, 1x4 is "
              "more accurate than L1 filters that are cut out.", "cifar10", "top1", "frontier",
              (Side("one_by_n", {"n": 4}, {"sparsity": (0.3, 0.5, 0.75, 0.9)}),
               Side("l1_filter", grid={"sparsity": (0.3, 0.5, 0.75, 0.9)}), Side("plain")),
              held_equal=EQUAL, cost="profile.latency.one.sparse.median_ms", share=0.4),
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
