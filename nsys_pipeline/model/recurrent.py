"""Layers that keep a state instead of keys and values: Mamba, delta nets, lightning attention, convolutions."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.blocks import Block, step_shapes
from nsys_pipeline.model.dtypes import bytes_of
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.quantization import ATTENTION


@attrs.frozen
class Projection:
    """One linear layer of a recurrent block."""

    name: str
    n: int
    k: int
    bias: bool = False


@attrs.frozen(kw_only=True)
class Recurrent(Block):
    """Projections, a causal depthwise convolution, and a recurrence over a state of `state` values per sequence.

    Convention: the recurrent form, in which every token costs the same: a multiply-add for each contraction with the
    state (`scan_flops` per token). Decays, gates and discretization are elementwise and not counted. Chunked prefill
    kernels execute more, by a factor that depends on their chunk; that is not charged, neither as model nor as
    executed FLOPs.
    A pass reads the state of every sequence that has one and writes it once. The state is held in `state_dtype`, if the
    config does not say otherwise, whatever the KV dtype: sums over a whole context need float32. The last inputs of
    convolutions and `last_inputs` further ones are in the activations' dtype, which `state_dtype` None means, too.
    """

    projections: tuple[Projection, ...]
    out: Projection
    conv_channels: int
    conv_kernel: int
    conv_bias: bool = False
    state: int = 0
    state_dtype: str | None = "fp32"
    last_inputs: int = 0
    scan_flops: int = 0
    small_params: int = 0

    @property
    def params(self) -> int:
        linear = sum(p.n * p.k + (p.n if p.bias else 0) for p in (*self.projections, self.out))
        return linear + self._conv_params + self.small_params

    @property
    def _conv_params(self) -> int:
        return self.conv_channels * (self.conv_kernel + (1 if self.conv_bias else 0))

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        tokens = run.tokens
        for p in self.projections:
            emit.gemm(p.name, ATTENTION, tokens, p.n, p.k, bias=p.n if p.bias else 0)
        if self.conv_channels:
            emit.add(
                "conv",
                "conv1d",
                m=tokens,
                n=1,
                k=self.conv_kernel,
                batch=self.conv_channels,
                flops=2 * tokens * self.conv_channels * self.conv_kernel,
                weight=emit.plain_bytes(self._conv_params) if tokens else 0,
                activation=2 * emit.plain_bytes(tokens * self.conv_channels),
            )
        if self.small_params:
            emit.add("norm", "state_params", weight=emit.plain_bytes(self.small_params) if tokens else 0)
        bias = self.out.n if self.out.bias else 0
        emit.gemm(self.out.name, ATTENTION, tokens, self.out.n, self.out.k, bias=bias)
        emit.all_reduce("attention_all_reduce", tokens * self.out.n)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        inputs = self.last_inputs + self.conv_channels * (self.conv_kernel - 1)
        state_dtype = emit.dtype if self.state_dtype is None else emit.state_dtype or self.state_dtype
        per_sequence = bytes_of(self.state, state_dtype) + emit.plain_bytes(inputs)
        shapes = [(q, kv, count) for (q, kv), count in step_shapes(run.step) if q]
        emit.add(
            "scan",
            "scan",
            m=run.tokens,
            flops=run.tokens * self.scan_flops,
            kv_read=per_sequence * sum(count for _, kv, count in shapes if kv),
            kv_write=per_sequence * sum(count for _, _, count in shapes),
        )


@attrs.frozen
class ResidualConvolution(Block):
    """A causal depthwise convolution beside its input (Inkling); the last inputs are kept per sequence.

    Its weights are in float32, unless `in_float32` is false.
    """

    name: str
    channels: int
    kernel: int
    in_float32: bool = True

    @property
    def params(self) -> int:
        return self.channels * self.kernel

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        emit.add(
            "conv", self.name, m=run.tokens, n=1, k=self.kernel, batch=self.channels,
            flops=2 * run.tokens * self.channels * self.kernel,
            weight=bytes_of(self.params, "fp32" if self.in_float32 else emit.dtype) if run.tokens else 0,
            activation=2 * emit.plain_bytes(run.tokens * self.channels),
        )  # fmt: skip

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        shapes = [(q, kv, count) for (q, kv), count in step_shapes(run.step) if q]
        state = self.channels * (self.kernel - 1)
        emit.add(
            "scan", f"{self.name}_state",
            kv_read=emit.plain_bytes(state * sum(count for _, kv, count in shapes if kv)),
            kv_write=emit.plain_bytes(state * sum(count for _, _, count in shapes)),
        )  # fmt: skip


def mamba1(
    *, width: int, inner: int, state: int, kernel: int, rank: int, bias: bool, conv_bias: bool, norms: bool = False
) -> Recurrent:
    """Selective state space (arXiv 2312.00752): per token and channel an update of `state` values and a contraction."""
    return Recurrent(
        projections=(
            Projection("in_proj", 2 * inner, width, bias),
            Projection("x_proj", rank + 2 * state, inner),
            Projection("dt_proj", inner, rank, bias=True),
        ),
        out=Projection("out_proj", width, inner, bias),
        conv_channels=inner,
        conv_kernel=kernel,
        conv_bias=conv_bias,
        state=inner * state,
        scan_flops=4 * inner * state,
        small_params=inner * state + inner + (rank + 2 * state if norms else 0),
    )


def mamba2(
    *,
    width: int,
    heads: int,
    head_dim: int,
    state: int,
    groups: int,
    kernel: int,
    bias: bool,
    conv_bias: bool,
    norm: bool = True,
    out_bias: bool | None = None,
) -> Recurrent:
    """State space duality (arXiv 2405.21060): heads with a scalar decay and B and C shared within a group."""
    inner = heads * head_dim
    return Recurrent(
        projections=(Projection("in_proj", 2 * inner + 2 * groups * state + heads, width, bias),),
        out=Projection("out_proj", width, inner, bias if out_bias is None else out_bias),
        conv_channels=inner + 2 * groups * state,
        conv_kernel=kernel,
        conv_bias=conv_bias,
        state=inner * state,
        scan_flops=4 * inner * state,
        small_params=3 * heads + (inner if norm else 0),
    )


def gated_delta_net(*, width: int, k_heads: int, v_heads: int, k_dim: int, v_dim: int, kernel: int) -> Recurrent:
    """Gated delta rule (arXiv 2412.06464): read with the key, write the difference, read with the query."""
    keys, values = k_heads * k_dim, v_heads * v_dim
    return Recurrent(
        projections=(
            Projection("in_proj_qkvz", 2 * keys + 2 * values, width),
            Projection("in_proj_ba", 2 * v_heads, width),
        ),
        out=Projection("out_proj", width, values),
        conv_channels=2 * keys + values,
        conv_kernel=kernel,
        state=v_heads * k_dim * v_dim,
        scan_flops=6 * v_heads * k_dim * v_dim,
        small_params=2 * v_heads + v_dim,
    )


def kimi_delta_attention(width: int, heads: int, head_dim: int, kernel: int, *, low_rank: bool = True) -> Recurrent:
    """Kimi delta attention (arXiv 2510.26692): the gated delta rule with a decay per channel, from a low-rank gate.

    Ling 3's gates are of full rank.
    """
    inner = heads * head_dim
    gates: tuple[Projection, ...] = (Projection("kda_f", inner, width), Projection("kda_g", inner, width))
    if low_rank:
        gates = (
            Projection("kda_f_a", head_dim, width),
            Projection("kda_f_b", inner, head_dim),
            Projection("kda_g_a", head_dim, width),
            Projection("kda_g_b", inner, head_dim),
        )
    return Recurrent(
        projections=(Projection("kda_qkv", 3 * inner, width), Projection("kda_b", heads, width), *gates),
        out=Projection("kda_o", width, inner),
        conv_channels=3 * inner,
        conv_kernel=kernel,
        state=heads * head_dim * head_dim,
        scan_flops=6 * heads * head_dim * head_dim,
        small_params=inner + heads + head_dim,
    )


def lightning_attention(width: int, heads: int, head_dim: int) -> Recurrent:
    """Linear attention with a decay per head (arXiv 2501.08313): store key times value, read with the query.

    MiniMax' own code and transformers hold this state in the activations' dtype.
    """
    inner = heads * head_dim
    return Recurrent(
        projections=(Projection("lightning_qkv", 3 * inner, width), Projection("lightning_gate", inner, width)),
        out=Projection("lightning_o", width, inner),
        conv_channels=0,
        conv_kernel=1,
        state=heads * head_dim * head_dim,
        state_dtype=None,
        scan_flops=4 * heads * head_dim * head_dim,
        small_params=inner,
    )


def short_convolution(width: int, kernel: int, *, bias: bool) -> Recurrent:
    """LFM2's gated short convolution."""
    return Recurrent(
        projections=(Projection("in_proj", 3 * width, width, bias),),
        out=Projection("out_proj", width, width, bias),
        conv_channels=width,
        conv_kernel=kernel,
        conv_bias=bias,
    )


def gated_linear_recurrence(width: int, inner: int, heads: int, kernel: int) -> Recurrent:
    """Griffin's recurrent block (arXiv 2402.19427): two gates, a product per head each; an elementwise recurrence."""
    return Recurrent(
        projections=(
            Projection("in_proj_x", inner, width, bias=True),
            Projection("in_proj_y", inner, width, bias=True),
            Projection("rg_lru_gates", 2 * inner, inner // heads, bias=True),
        ),
        out=Projection("out_proj", width, inner, bias=True),
        conv_channels=inner,
        conv_kernel=kernel,
        conv_bias=True,
        state=inner,
        small_params=inner,
    )
