"""The shared 1xN block-sparse CPU kernel: packing, lowering of a torch network to a plan, running the plan.

Numbers: float32, batch 1. A weight (Co, Ci, k, k) is cut into groups of N consecutive output channels; a *block* is the N
weights of a group that share an input channel and a tap, and it is stored or dropped as a whole (Lin et al., "1xN Pattern
for Pruning Convolutional Neural Networks", Sec. 3). A tile of V vectors of pixels by N output channels stays in registers
while the kept blocks of its group go by: one load of V pixel vectors, N broadcast weights, N * V multiply-adds per block.
Activations lie in planes whose rows share zero columns, so that a tap is a constant distance and nothing is unfolded;
strided layers first copy their stride phases apart.

The compiled module holds the microkernels for AVX-512, AVX2 and any CPU and chooses at run time; ``SUITE_SIMD`` (avx512,
avx2, portable) forces one. What the plan cannot take runs in torch between its steps and is listed in `Plan.outside`.
"""

from suite.kernel.gate import Gate, check, largest
from suite.kernel.lower import lower
from suite.kernel.pack import Packed, block_width, pack
from suite.kernel.plan import Layer, Plan, arguments, signature, simd_path
from suite.kernel.recording import store
from suite.kernel.stored import StoredPlan, load

VERSION = "3"  # latencies of different versions never share a column

__all__ = ["VERSION", "Gate", "Layer", "Packed", "Plan", "StoredPlan", "arguments", "block_width", "check", "largest", "load",
           "lower", "pack", "signature", "simd_path", "store"]
