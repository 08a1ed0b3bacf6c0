"""Blocks of channels: what an engine computes at once, so that any width costs the time of the next whole block.

The numbers are those of the engines' sources and manuals, named beside them; nothing is measured.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

ARM = {"asimd", "arm", "arm64", "aarch64"}
PRODUCTS = 8
"""Between matrix products, whose kernels mask what is left over: multiples of 8 realise as much as those of 16 (Swin-T
in ONNX Runtime, docs/results/latency.md), and keep more."""
OF_PRODUCTS = {"attention", "mlp"}
"""Kinds of groups that matrix products alone make and read."""


@dataclass(frozen=True)
class Blocks:
    """Channels of a block of convolutions, by the processor's vector extensions."""

    avx512: int = 8
    arm: int = 8
    other: int = 8

    def on(self, processor: str) -> int:
        """The block on a processor, described as `compress.measure.environment.processor` does."""
        words = set(processor.replace(":", " ").lower().split())
        return self.avx512 if "avx512f" in words else self.arm if words & ARM else self.other


NCHWC = Blocks(avx512=16, arm=16, other=8)
"""ONNX Runtime's MLAS: `NchwcBlockSize` of MLAS_PLATFORM is 8, 16 with AVX512F (platform.cpp), and on ARM, in builds
that have these kernels, MLAS_NEON_NCHWC_BLOCK_SIZE, 16. Convolutions of widths that do not fit, depthwise ones above
all, fall out of the blocked layout (nchwc_transformer.cc), which costs more than the channels save."""

ONEDNN = Blocks(avx512=16, arm=8, other=8)
"""oneDNN, by which PyTorch and OpenVINO convolve on x86: its layouts are nChw16c with AVX-512 and nChw8c without,
padded to whole blocks ("Understanding Memory Formats" in its developer guide)."""

TENSOR_CORES = Blocks(avx512=8, arm=8, other=8)
"""NVIDIA's tensor cores take float16 in eights of channels, whatever the processor is: TensorRT has formats "where
channel % 8 == 0" ("Optimizing for Tensor Cores" in its guide to performance)."""

UNKNOWN = Blocks()
"""Of an engine that says nothing: eight float32 numbers are a vector of AVX2, and two of NEON."""


def block_of(blocks: Blocks, kinds: Collection[str]) -> int:
    """The block of an engine on this processor, for groups of these `kinds` (`Group.kind`).

    Example::

        block_of(BACKENDS.find("onnxruntime").blocks, {"channels"})  # 16 with AVX-512, else 8 on x86
    """
    from .environment import processor

    transformer = bool(OF_PRODUCTS & set(kinds)) and "channels" not in kinds
    return PRODUCTS if transformer else blocks.on(processor())
