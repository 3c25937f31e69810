"""Packing a weight into 1xN blocks, and finding N from its zeros."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

WIDTHS = (1, 2, 4, 8, 16, 32)
# Multiply-adds per second of a tile of N output channels, relative to the others (measured: N = 1 is bound by loads, 8 and
# more by arithmetic). They decide between fewer stored zeros and a better tile.
_SPEED = {1: 65.0, 2: 110.0, 4: 150.0, 8: 165.0, 16: 165.0, 32: 165.0}


@dataclass(frozen=True)
class Packed:
    """A weight as 1xN blocks: block rows are groups of `n` output channels, in the block-sparse-row format.

    `pointer` int64 (G + 1): the blocks of group g are pointer[g] .. pointer[g + 1] - 1. Per block, `index` int32 is its
    input channel, `tap` int32 its place ky * kw + kx in the kernel, `value` float32 (blocks, n) its weights. The last group
    is padded with zero rows where n does not divide Co. Within a group blocks are ordered by input channel, then tap.
    """

    n: int
    shape: tuple[int, ...]  # of the weight
    pointer: np.ndarray
    index: np.ndarray
    tap: np.ndarray
    value: np.ndarray

    @property
    def bytes(self) -> int:
        """Bytes as the kernel stores them: values, one 32-bit offset per block, and the pointers."""
        return self.value.nbytes + self.index.nbytes + self.pointer.nbytes


def pack(weight: Tensor, n: int, keep_zeros: bool = False) -> Packed:
    """Pack `weight` (Co, Ci, kh, kw) or (Co, Ci) into blocks of `n` in 1, 2, 4, 8, 16, 32; ValueError for another n.

    Blocks of nothing but zeros are dropped, unless `keep_zeros`: then the dense layer is stored in the same format.
    """
    if n not in WIDTHS:
        raise ValueError(f"blocks of {n} are not possible; n is one of {WIDTHS}")
    shape = tuple(weight.shape)
    blocks = _blocks(weight, n)
    kept = np.ones(blocks.shape[:3], bool) if keep_zeros else blocks.any(3)
    group, index, tap = np.nonzero(kept)
    pointer = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=len(blocks)))]).astype(np.int64)
    return Packed(n, shape, pointer, index.astype(np.int32), tap.astype(np.int32), np.ascontiguousarray(blocks[kept]))


def block_width(weight: Tensor) -> int:
    """The N whose packed form the kernel runs fastest: for a 1xN-pruned weight that N, for scattered zeros 1, for a dense one 8.

    Stored weights, zeros among them, over the tile's measured speed; of equals the widest. Blocks wider than 8 bring no
    speed of their own and are used only where the zeros have that width.
    """
    best, least = 8, float("inf")
    for n in WIDTHS:
        if n > 8 and (n > len(weight) or bool((weight != 0).all())):
            break
        kept = int(_blocks(weight, n).any(3).sum())
        time = kept * n / _SPEED[n]
        if time <= least * 1.001:
            best, least = n, min(time, least)
    return best


def _matrix(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return shape[0], shape[1], int(np.prod(shape[2:], dtype=int))


def _blocks(weight: Tensor, n: int) -> np.ndarray:
    """(G, Ci, taps, n), the last group padded with zeros."""
    rows, columns, taps = _matrix(tuple(weight.shape))
    values = weight.detach().to(dtype=torch.float32, device="cpu").contiguous().numpy().reshape(rows, columns, taps)
    padded = np.pad(values, ((0, -rows % n), (0, 0), (0, 0)))
    return padded.reshape(-1, n, columns, taps).transpose(0, 2, 3, 1)
