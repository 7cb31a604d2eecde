"""The unit of the estimate: one operation of one layer kind."""

from __future__ import annotations

import attrs

PRODUCTS = ("gemm", "grouped_gemm", "conv")
"""Kinds of operations that multiply activations by weights."""


@attrs.frozen
class Op:
    """What one operation computes and moves in ONE layer, over all sequences of the step and all GPUs.

    `layers` says how many identical layers run it: multiply by it, or use the ``total_*`` properties.
    `m`, `n`, `k` and `batch` describe the matrix product(s), ``batch`` products of (m×k)·(k×n); attention has
    m = query tokens, n = keys attended by the average query (rounded), k = dim of a query head (of latents
    where those are attended to; the average over pairs where sequences differ), batch = heads.
    FLOPs count a multiply-add as two. Bytes: `weight_bytes` (weights touched), `kv_read_bytes`, `kv_write_bytes` (cache
    or recurrent state) make up the minimum traffic; `activation_bytes` (inputs and outputs of the op, which fused
    kernels keep on chip) and `comm_bytes` (sent between GPUs, summed over the senders) are apart.
    """

    layer: str
    layers: int
    layer_ids: tuple[int, ...]
    kind: str
    name: str
    m: int
    n: int
    k: int
    batch: int
    dtype: str
    flops_model: int
    flops_executed: int
    weight_bytes: int = 0
    activation_bytes: int = 0
    kv_read_bytes: int = 0
    kv_write_bytes: int = 0
    comm_bytes: int = 0

    def share(self, ranks: int) -> Op:
        """The equal share of one of `ranks` that split the tokens; each of them reads all weights."""
        names = ("m", "flops_model", "flops_executed", "activation_bytes", "kv_read_bytes", "kv_write_bytes")
        return attrs.evolve(self, **{name: getattr(self, name) // ranks for name in names})

    @property
    def bytes(self) -> int:
        """Minimum traffic of one layer's op: weights + KV read + KV written."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes

    @property
    def total_flops_model(self) -> int:
        """FLOPs that the model requires, over all the layers that run this op."""
        return self.layers * self.flops_model

    @property
    def total_flops_executed(self) -> int:
        """FLOPs that an eager implementation executes, over all the layers that run this op."""
        return self.layers * self.flops_executed

    @property
    def total_bytes(self) -> int:
        """Minimum traffic over all the layers that run this op."""
        return self.layers * self.bytes
