"""What transformer layers are made of: each block knows its parameters and the ops of one pass.

`token_ops` depend only on how many tokens and logits a pass has; `context_ops` on which tokens are cached. The split
lets thousands of decode steps that differ only in context share the first part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import attrs

from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.masks import bidirectional_pairs, cached_keys, double_pairs, image_pairs, tile_pairs
from nsys_pipeline.model.quantization import ATTENTION, EMBEDDING, EXPERT, HEAD, MLP, ROUTER
from nsys_pipeline.records import LengthSums, Step


class Block:
    """Base of all blocks. `params` counts stored parameters, `idle_params` those that a single token does not touch."""

    @property
    def params(self) -> int:
        return 0

    @property
    def idle_params(self) -> int:
        return 0

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        """Ops that depend on the number of tokens alone."""

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        """Ops that depend on the cached tokens of each sequence."""


def attention_load(
    run: Pass, mode: str, window: int | None, chunk: int | None, *, causal: bool = True, rolling: bool = True
) -> tuple[int, int]:
    """Twice the (query, key) pairs and the cached tokens read, summed over the sequences of a pass.

    Without a `rolling` cache a window is nothing but a mask, which only `exact` heeds.
    """
    step = run.step
    pairs2 = read = 0
    masked = window if rolling or mode == "exact" else None
    if step.sums is not None and causal and window is None and chunk is None:
        return _summed_pairs2(mode, step.sums, step.new_tokens), step.sums.cached
    for (q, cached), count in step_shapes(step):
        pairs2 += count * double_pairs(mode, q, cached, masked, chunk, causal=causal)
        read += count * cached_keys(cached, window, chunk) if q else 0
    return pairs2, read


def _summed_pairs2(mode: str, sums: LengthSums, new_tokens: int) -> int:
    """Twice the pairs under a causal mask without a window, from sums over the sequences; see `double_pairs`."""
    triangles2 = {"exact": sums.squares + new_tokens, "half": sums.squares, "full": 2 * sums.squares}[mode]
    return 2 * sums.products + triangles2


def step_shapes(step: Step) -> Iterable[tuple[tuple[int, int], int]]:
    """Distinct (new, cached) lengths of a step with how many sequences have them."""
    q, kv = step.q_tokens, step.kv_tokens
    if q and q.count(q[0]) == len(q) and kv.count(kv[0]) == len(kv):
        return (((q[0], kv[0]), len(q)),)
    return Counter(zip(q, kv, strict=True)).items()


@attrs.frozen
class Norm(Block):
    """Normalization of a token's `width` values with `weights` parameters; `name` tells the norms of a layer apart."""

    name: str
    width: int
    weights: int

    @property
    def params(self) -> int:
        return self.weights

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        emit.norm(self.name, self.weights, run.tokens * self.width)


@attrs.frozen
class Linear(Block):
    """A linear layer over every token."""

    name: str
    n: int
    k: int
    bias: int = 0
    role: str = MLP

    @property
    def params(self) -> int:
        return self.n * self.k + self.bias

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        emit.gemm(self.name, self.role, run.tokens, self.n, self.k, bias=self.bias)


@attrs.frozen
class Embedding(Block):
    """A table of `rows` × `width`, of which a pass reads one row per token. A `tied` one is stored as the head."""

    name: str
    rows: int
    width: int
    tied: bool = False

    @property
    def params(self) -> int:
        return 0 if self.tied else self.rows * self.width

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        emit.add(
            "embedding",
            self.name,
            m=run.tokens,
            n=self.width,
            weight=emit.format(EMBEDDING, self.name).bytes(run.tokens, self.width),
            activation=emit.plain_bytes(run.tokens * self.width),
        )


@attrs.frozen
class Head(Block):
    """The LM head: `vocab` logits for each position that asks for them."""

    vocab: int
    width: int
    bias: int = 0
    name: str = "lm_head"

    @property
    def params(self) -> int:
        return self.vocab * self.width + self.bias

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        if run.logits:
            emit.gemm(self.name, HEAD, run.logits, self.vocab, self.width, bias=self.bias)


@attrs.frozen(kw_only=True)
class Attention(Block):
    """Multi-head, grouped-query or multi-query attention.

    `window`: a token sees itself and window - 1 tokens before it; `chunk`: only its own chunk; `tile`: only its own
    square of an image, of so many patches on a side, cut off at the image's right and lower edge. `extra_params` are
    norms on heads, sinks and the like. `gate` doubles the query projection (Qwen3-Next's output gate).
    `value_from_key`: no projection of its own for V. `shared_kv`: the layer has no K and V of its own and reads another
    layer's cache. `rolling`: the implementation's cache drops what left the window. `images`: where a model sees whole
    images, whether a token of one sees all of it, nothing more than a mask of text (`causal`) or also what comes after
    it (`ahead`: a window still hides what lies before).
    """

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int | None = None
    q_bias: bool = False
    kv_bias: bool = False
    v_bias: bool | None = None
    o_bias: bool = False
    extra_params: int = 0
    gate: bool = False
    window: int | None = None
    rolling: bool = True
    images: Literal["all", "ahead", "causal"] = "all"
    chunk: int | None = None
    tile: int | None = None
    causal: bool = True
    cached: bool = True
    value_from_key: bool = False
    shared_kv: bool = False
    out_width: int | None = None
    role: str = ATTENTION

    @property
    def _v_dim(self) -> int:
        return self.head_dim if self.value_dim is None else self.value_dim

    @property
    def _q_out(self) -> int:
        return self.heads * self.head_dim * (2 if self.gate else 1)

    @property
    def _k_out(self) -> int:
        return 0 if self.shared_kv else self.kv_heads * self.head_dim

    @property
    def _v_out(self) -> int:
        return 0 if self.shared_kv or self.value_from_key else self.kv_heads * self._v_dim

    @property
    def outputs(self) -> tuple[int, int, int]:
        """Outputs of the projections of Q, K and V."""
        return self._q_out, self._k_out, self._v_out

    @property
    def value_width(self) -> int:
        """Values of a head."""
        return self._v_dim

    @property
    def _qkv_bias(self) -> int:
        v_bias = self.kv_bias if self.v_bias is None else self.v_bias
        return self._q_out * self.q_bias + self._k_out * self.kv_bias + self._v_out * v_bias

    @property
    def _out(self) -> int:
        return self.width if self.out_width is None else self.out_width

    @property
    def params(self) -> int:
        qkv = (self._q_out + self._k_out + self._v_out) * self.width + self._qkv_bias
        out = self.heads * self._v_dim * self._out + self._out * self.o_bias
        return qkv + out + self.extra_params

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        # K and V heads that do not divide among the ranks are replicated; the query heads are not.
        copies = max(1, emit.tp // self.kv_heads)
        parts = ((self._q_out, 1), (self._k_out, copies), (self._v_out, copies))
        emit.fused("qkv", self.role, run.tokens, parts, self.width, bias=self._qkv_bias)
        if self.extra_params:
            emit.norm("qk_norm", self.extra_params, run.tokens * (self.heads + self.kv_heads) * self.head_dim)
        emit.gemm("o", self.role, run.tokens, self._out, self.heads * self._v_dim, bias=self._out * self.o_bias)
        emit.all_reduce("attention_all_reduce", run.tokens * self._out)

    def _load(self, run: Pass, mode: str) -> tuple[int, int]:
        """Twice the pairs and the cached tokens read, summed over the sequences."""
        if self.tile is not None:
            # Without their sides, images are as many whole tiles as fit.
            whole = sum(bidirectional_pairs(tokens, chunk=self.tile**2) for tokens in run.step.q_tokens)
            pairs = sum(tile_pairs(height, width, self.tile) for height, width in run.grids) if run.grids else whole
            return 2 * pairs, 0
        pairs2, read = attention_load(run, mode, self.window, self.chunk, causal=self.causal, rolling=self.rolling)
        if mode == "exact" and self.causal and self.images != "causal":
            window = self.window if self.images == "all" else None
            pairs2 += 2 * sum(image_pairs(tokens, window) for tokens in run.images)
        return pairs2, read

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        pairs2, read = self._load(run, emit.conventions.attention)
        copies = max(1, emit.tp // self.kv_heads)
        token = self.kv_heads * (self.head_dim + self._v_dim)
        emit.add(
            "attention",
            "attention",
            m=run.tokens,
            n=pairs2 // (2 * run.tokens) if run.tokens else 0,
            k=self.head_dim,
            batch=self.heads,
            flops=pairs2 * self.heads * (self.head_dim + self._v_dim),
            kv_read=copies * emit.kv_bytes(read * token),
            kv_write=0 if self.shared_kv or not self.cached else copies * emit.kv_bytes(run.tokens * token),
            activation=emit.plain_bytes(run.tokens * self.heads * (self.head_dim + self._v_dim)),
        )


@attrs.frozen(kw_only=True)
class PrefixAttention(Attention):
    """Half of the tokens are a prefix that sees itself; the other half sees the prefix and, causally, itself."""

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        pairs2 = 0
        for (q, _), count in step_shapes(run.step):
            prefix = q // 2
            exact = 2 * prefix * prefix + double_pairs("exact", q - prefix, prefix)
            pairs2 += count * (exact if emit.conventions.attention == "exact" else 2 * q * q)
        emit.add(
            "attention",
            "attention",
            m=run.tokens,
            n=pairs2 // (2 * run.tokens) if run.tokens else 0,
            k=self.head_dim,
            batch=self.heads,
            flops=2 * pairs2 * self.heads * self.head_dim,
            activation=2 * emit.plain_bytes(run.tokens * self.heads * self.head_dim),
        )


@attrs.frozen(kw_only=True)
class Mlp(Block):
    """Feed-forward block; a gated one has three matrices. `label` prefixes the op names (shared experts).

    `is_parallel`: it reads what the attention of its layer reads, and nothing that comes of it.
    """

    width: int
    hidden: int
    gated: bool = True
    bias: bool = False
    label: str = ""
    role: str = MLP
    extra_params: int = 0
    is_parallel: bool = False

    @property
    def _up(self) -> int:
        return self.hidden * (2 if self.gated else 1)

    @property
    def params(self) -> int:
        bias = (self._up + self.width) if self.bias else 0
        return (self._up + self.hidden) * self.width + bias + self.extra_params

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        up = self.label + ("gate_up" if self.gated else "up")
        emit.gemm(up, self.role, run.tokens, self._up, self.width, bias=self._up if self.bias else 0)
        emit.gemm(
            self.label + "down", self.role, run.tokens, self.width, self.hidden, bias=self.width if self.bias else 0
        )
        if not self.label:
            emit.all_reduce("mlp_all_reduce", run.tokens * self.width)


def distinct_experts(experts: int, top_k: float, tokens: int) -> float:
    """Experts that any of `tokens` tokens picks, if routing is uniform and independent: E·(1 - (1 - k/E)^T)."""
    return experts * (1.0 - (1.0 - top_k / experts) ** tokens)


@attrs.frozen(kw_only=True)
class Moe(Block):
    """Router, `experts` experts of which each token uses `top_k`, and shared experts that every token uses.

    `shared_gate`: a scalar gate on the shared expert (Qwen2-MoE). `dense_executed`: transformers runs every expert on
    every token. `router_bias` counts trained parameters beside the router's matrix. `zero_experts`: further choices of
    the router that compute nothing (LongCat), so that under uniform routing only a part of the `top_k` is a product.
    `latent`: the routed experts run on a projection of this width (Nemotron 3), shared ones do not; `shared_bias` is
    the projection's too. `is_parallel` as of `Mlp`.
    """

    width: int
    hidden: int
    experts: int
    top_k: int
    gated: bool = True
    bias: bool = False
    router_bias: int = 0
    shared: int = 0
    shared_gate: bool = False
    shared_bias: bool = False
    dense_executed: bool = False
    zero_experts: int = 0
    latent: int | None = None
    is_parallel: bool = False

    @property
    def _expert_width(self) -> int:
        return self.latent or self.width

    @property
    def _choices(self) -> int:
        return self.experts + self.zero_experts

    @property
    def _up(self) -> int:
        return self.hidden * (2 if self.gated else 1)

    @property
    def _expert_params(self) -> int:
        bias = (self._up + self._expert_width) if self.bias else 0
        return (self._up + self.hidden) * self._expert_width + bias

    @property
    def _latent_bias(self) -> int:
        return 1 if self.latent and self.shared_bias else 0

    @property
    def _latent_params(self) -> int:
        if not self.latent:
            return 0
        return 2 * self.latent * self.width + self._latent_bias * (self.latent + self.width)

    @property
    def shared_experts(self) -> Mlp | None:
        """The experts that every token uses, as one MLP."""
        if not self.shared:
            return None
        return Mlp(width=self.width, hidden=self.shared, gated=self.gated, bias=self.shared_bias, label="shared_")

    @property
    def params(self) -> int:
        shared = self.shared_experts.params if self.shared_experts else 0
        gate = self.width if self.shared_gate else 0
        return (
            self.experts * self._expert_params
            + self._choices * self.width
            + self.router_bias
            + shared
            + gate
            + self._latent_params
        )

    @property
    def idle_params(self) -> int:
        return (self.experts - round(self.top_k * self.experts / self._choices)) * self._expert_params

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        tokens = run.tokens
        emit.gemm("router", ROUTER, tokens, self._choices, self.width, bias=self.router_bias, replicas=emit.tp)
        inner, bias = self._expert_width, self._latent_bias
        if self.latent:
            emit.gemm("experts_latent_in", MLP, tokens, inner, self.width, bias=bias * inner, replicas=emit.tp)
        self._matrix(emit, "experts_gate_up" if self.gated else "experts_up", run, self._up, inner)
        self._matrix(emit, "experts_down", run, inner, self.hidden)
        if self.latent:
            emit.gemm("experts_latent_out", MLP, tokens, self.width, inner, bias=bias * self.width, replicas=emit.tp)
        if self.shared_experts:
            self.shared_experts.token_ops(emit, run)
        if self.shared_gate:
            emit.gemm("shared_gate", ROUTER, tokens, 1, self.width, replicas=emit.tp)
        emit.all_reduce("mlp_all_reduce", tokens * self.width)
        if emit.conventions.ep > 1:
            # Dispatch and combine: a token's copy leaves its rank unless the expert is local.
            ep = emit.conventions.ep
            sent = 2 * emit.plain_bytes(tokens * self.top_k * self._expert_width)
            emit.add("communication", "expert_all_to_all", comm=sent * (ep - 1) // ep)

    def _touched(self, run: Pass) -> float:
        """Experts whose weights are read: expected, or as counted, between what one token runs and what there is."""
        chosen = self.top_k * self.experts / self._choices
        if run.step.experts is not None and run.tokens:
            return min(max(run.step.experts, chosen), float(self.experts))
        return distinct_experts(self.experts, chosen, run.tokens)

    def _matrix(self, emit: Emitter, name: str, run: Pass, n: int, k: int) -> None:
        tokens, experts = run.tokens, emit.conventions.experts
        routed_rows = tokens * self.top_k
        if self.zero_experts:
            routed_rows = round(routed_rows * self.experts / self._choices)
        routed, dense = 2 * routed_rows * n * k, 2 * tokens * self.experts * n * k
        formats = emit.formats(EXPERT, name)
        all_run = experts == "dense" or (
            experts is None and emit.conventions.count == "executed" and self.dense_executed
        )
        touched = float(self.experts) if all_run and tokens else self._touched(run)
        rows = tokens * self.experts if all_run else routed_rows
        required = dense if experts == "dense" else routed
        executed = dense if experts == "dense" or (experts is None and self.dense_executed) else routed
        bias = emit.plain_bytes(n) if self.bias else 0
        # Parts whose products run in another dtype are products of their own.
        for compute in dict.fromkeys(fmt.compute for fmt in formats):
            parts = [fmt for fmt in formats if fmt.compute == compute]
            width = n * len(parts) // len(formats)
            one = (
                parts[0].bytes(width, k)
                if len(set(parts)) == 1
                else sum(fmt.bytes(n // len(formats), k) for fmt in parts)
            )
            emit.add(
                "grouped_gemm",
                name,
                m=rows // self.experts if all_run else max(1, round(rows / max(touched, 1.0))) if rows else 0,
                n=width,
                k=k,
                batch=round(touched),
                dtype=compute,
                flops=required * len(parts) // len(formats),
                executed=executed * len(parts) // len(formats),
                weight=round(touched * (one + bias)),
                activation=emit.plain_bytes(rows * (width + k)),
            )
            bias = 0


@attrs.frozen(kw_only=True)
class LatentAttention(Block):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, 2.1): K and V come from a latent of `kv_rank` values.

    The cache holds, per token, the latent and one rotary key (`rope_dim`) shared by the heads, or the expanded keys and
    values, as `Conventions.mla` says. `shared_latents`: the layer has none of its own and reads an earlier layer's.
    `window`: a token sees itself and window - 1 tokens before it, and the cache holds no more.
    """

    width: int
    heads: int
    q_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    bias: bool = False
    kv_bias: bool = False
    causal: bool = True
    shared_latents: bool = False
    extra_params: int = 0
    window: int | None = None

    @property
    def _qk_dim(self) -> int:
        return self.nope_dim + self.rope_dim

    @property
    def _latent(self) -> int:
        return self.kv_rank + self.rope_dim

    def pair_dims(self, query_dim: int) -> tuple[int, int]:
        """Dims of score and value of a pair, as attended to with query heads of `query_dim`."""
        expanded = query_dim == self._qk_dim
        return (self._qk_dim, self.value_dim) if expanded else (self._latent, self.kv_rank)

    @property
    def _expanded(self) -> int:
        return self.heads * (self.nope_dim + self.value_dim)

    @property
    def params(self) -> int:
        d, q_out = self.width, self.heads * self._qk_dim
        if self.q_rank is None:
            query = d * q_out
        else:
            query = d * self.q_rank + self.q_rank + self.q_rank * q_out + (self.q_rank if self.bias else 0)
        latent = 0 if self.shared_latents else d * self._latent + self.kv_rank + (self._latent if self.bias else 0)
        out = self.heads * self.value_dim * d + (d if self.bias else 0)
        return query + latent + self.kv_rank * self._expanded + out + self.extra_params

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        d, tokens, q_out = self.width, run.tokens, self.heads * self._qk_dim
        if self.q_rank is None:
            emit.gemm("q", ATTENTION, tokens, q_out, d)
        else:
            # The ranks of a tensor-parallel group split heads; what comes before the heads is replicated.
            bias = self.q_rank if self.bias else 0
            emit.gemm("q_a", ATTENTION, tokens, self.q_rank, d, bias=bias, replicas=emit.tp)
            emit.norm("q_a_norm", self.q_rank, tokens * self.q_rank)
            emit.gemm("q_b", ATTENTION, tokens, q_out, self.q_rank)
        if not self.shared_latents:
            bias = self._latent if self.bias else 0
            emit.gemm("kv_a", ATTENTION, tokens, self._latent, d, bias=bias, replicas=emit.tp)
            emit.norm("kv_a_norm", self.kv_rank, tokens * self.kv_rank)
        if self.extra_params:
            emit.norm("attention_scales", self.extra_params, tokens * q_out)
        emit.gemm("o", ATTENTION, tokens, d, self.heads * self.value_dim, bias=d if self.bias else 0)
        emit.all_reduce("attention_all_reduce", tokens * d)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        conv = emit.conventions
        model = self._work(run, conv.attention, conv.mla or "absorbed")
        executed = self._work(run, conv.attention, conv.mla or "reexpand")
        kind = conv.mla or ("absorbed" if conv.count == "model" else "reexpand")
        expand_k = 2 * self.kv_rank * self._expanded
        fmt = emit.format(ATTENTION, "kv_b")
        emit.add(
            "gemm",
            "kv_b",
            m=(model if conv.count == "model" else executed)[0],
            n=self._expanded,
            k=self.kv_rank,
            dtype=fmt.compute,
            flops=model[0] * expand_k,
            executed=executed[0] * expand_k,
            weight=fmt.bytes(self._expanded, self.kv_rank) if run.tokens else 0,
            activation=emit.plain_bytes(run.tokens * (self._latent + self._expanded)),
        )
        cached = sum(self._keys_read(q, kv) * count for (q, kv), count in step_shapes(run.step) if q)
        pairs2 = sum(self._pairs2(conv.attention, q, kv) * count for (q, kv), count in step_shapes(run.step))
        if kind == "cached":
            token = self.heads * (self._qk_dim + self.value_dim)
            read, written = emit.kv_bytes(cached * token), emit.kv_bytes(run.tokens * token)
        else:
            read, written = (
                emit.tp * emit.latent_bytes(tokens, self.kv_rank, self.rope_dim) for tokens in (cached, run.tokens)
            )
        emit.add(
            "attention",
            "attention",
            m=run.tokens,
            n=pairs2 // (2 * run.tokens) if run.tokens else 0,
            k=(model if conv.count == "model" else executed)[2],
            batch=self.heads,
            flops=model[1] * self.heads,
            executed=executed[1] * self.heads,
            kv_read=read,
            kv_write=0 if self.shared_latents else written,
            activation=emit.plain_bytes(run.tokens * self.heads * (self._qk_dim + self.value_dim)),
        )

    def _pairs2(self, mode: str, q: int, cached: int) -> int:
        """Twice the pairs of one sequence."""
        return double_pairs(mode, q, cached, self.window, causal=self.causal)

    def _keys_read(self, q: int, cached: int) -> int:
        """Cached tokens of one sequence that at least one of the `q` new ones attends to."""
        return self._held(cached) if q else 0

    def _held(self, cached: int) -> int:
        """Tokens before the new ones that the cache still holds."""
        return cached_keys(cached, self.window)

    def _work(self, run: Pass, mode: str, mla: str) -> tuple[int, int, int]:
        """Tokens through the up-projection, attention FLOPs per head, and the dim of a query head that they are of.

        All under an MLA convention; the dim is the average over pairs where sequences are charged in different forms.

        Absorbing moves the up-projection to the query and output side, at the same FLOPs per new token, and makes a
        pair cost 2·(2·kv_rank + rope_dim) per head. Where expanding all keys costs less (a prompt), that is charged:
        it is how inference engines run prefill.
        """
        expanded_pair = self._qk_dim + self.value_dim
        absorbed_pair = self._latent + self.kv_rank
        tokens = flops = all_pairs2 = dims = 0
        for (q, cached), count in step_shapes(run.step):
            dim = self._qk_dim
            pairs2 = self._pairs2(mode, q, cached)
            if mla == "cached":
                step = (q, pairs2 * expanded_pair)
            elif mla == "reexpand":
                step = (q + self._held(cached) if q else 0, pairs2 * expanded_pair)
            else:
                head_expand = 2 * self.kv_rank * (self.nope_dim + self.value_dim)
                absorbed = (q, pairs2 * absorbed_pair)
                expanded = (q + self._held(cached), pairs2 * expanded_pair)
                step = min(absorbed, expanded, key=lambda work: work[0] * head_expand + work[1]) if q else (0, 0)
                dim = self._latent if step == absorbed else self._qk_dim
            tokens += count * step[0]
            flops += count * step[1]
            all_pairs2 += count * pairs2
            dims += count * pairs2 * dim
        return tokens, flops, round(dims / all_pairs2) if all_pairs2 else self._qk_dim


@attrs.frozen(kw_only=True)
class CrossAttention(Block):
    """Attention from decoder tokens to the encoder's: its keys and values are projected once and then cached.

    What counts as executed: without `is_cached`, the implementation projects them anew in each pass; it fills up a
    sequence's tokens to `padded`.
    """

    width: int
    encoder_width: int
    heads: int
    kv_heads: int
    head_dim: int
    is_cached: bool = True
    padded: int = 0
    q_bias: bool = False
    k_bias: bool = False
    v_bias: bool = False
    o_bias: bool = False
    extra_params: int = 0

    @property
    def _kv_out(self) -> int:
        return 2 * self.kv_heads * self.head_dim

    @property
    def _kv_bias(self) -> int:
        return self.kv_heads * self.head_dim * (self.k_bias + self.v_bias)

    def _ran(self, encoded: int) -> int:
        """Tokens of a sequence that the implementation runs on."""
        return max(encoded, self.padded) if encoded else 0

    @property
    def _q_out(self) -> int:
        return self.heads * self.head_dim

    @property
    def params(self) -> int:
        query = self._q_out * (self.width + self.q_bias)
        out = self.width * (self._q_out + self.o_bias)
        return query + self._kv_out * self.encoder_width + self._kv_bias + out + self.extra_params

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        emit.gemm("cross_q", ATTENTION, run.tokens, self._q_out, self.width, bias=self._q_out * self.q_bias)
        encoded, ran = sum(run.encoder_tokens), sum(map(self._ran, run.encoder_tokens))
        if run.first:
            first = len(emit.ops)
            emit.gemm("cross_kv", ATTENTION, encoded, self._kv_out, self.encoder_width, bias=self._kv_bias)
            if ran != encoded:
                emit.ops[first:] = [
                    attrs.evolve(op, flops_executed=op.flops_executed // encoded * ran) for op in emit.ops[first:]
                ]
        elif not self.is_cached:
            executed = 2 * ran * self._kv_out * self.encoder_width
            emit.add("gemm", "cross_kv", n=self._kv_out, k=self.encoder_width, executed=executed)
        if self.extra_params:
            emit.norm("cross_qk_norm", self.extra_params, run.tokens * self._q_out)
        emit.gemm("cross_o", ATTENTION, run.tokens, self.width, self._q_out, bias=self.width * self.o_bias)
        emit.all_reduce("cross_attention_all_reduce", run.tokens * self.width)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        lengths = list(zip(run.step.q_tokens, run.encoder_tokens, strict=True))
        pairs, ran = sum(q * encoded for q, encoded in lengths), sum(q * self._ran(encoded) for q, encoded in lengths)
        encoded = sum(length for q, length in lengths if q)
        emit.add(
            "attention",
            "cross_attention",
            m=run.tokens,
            n=pairs // run.tokens if run.tokens else 0,
            k=self.head_dim,
            batch=self.heads,
            flops=4 * pairs * self.heads * self.head_dim,
            executed=4 * ran * self.heads * self.head_dim,
            kv_read=0 if run.first else emit.kv_bytes(encoded * self._kv_out),
            kv_write=emit.kv_bytes(encoded * self._kv_out) if run.first else 0,
            activation=2 * emit.plain_bytes(run.tokens * self._q_out),
        )


@attrs.frozen(kw_only=True)
class Around(Block):
    """Blocks that run together on the tokens that `_inner` gives them."""

    blocks: tuple[Block, ...]

    @property
    def params(self) -> int:
        return sum(block.params for block in self.blocks)

    @property
    def idle_params(self) -> int:
        return sum(block.idle_params for block in self.blocks)

    def _inner(self, run: Pass) -> Pass:
        """Return the pass that the blocks see; the stack's own unless a subclass has another."""
        return run

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        inner = self._inner(run)
        for block in self.blocks:
            block.token_ops(emit, inner)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        inner = self._inner(run)
        for block in self.blocks:
            block.context_ops(emit, inner)


@attrs.frozen(kw_only=True)
class InFloat32(Around):
    """Blocks that an implementation keeps in float32, whatever the model's dtype."""

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        with emit.in_dtype("fp32"):
            super().token_ops(emit, run)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        with emit.in_dtype("fp32"):
            super().context_ops(emit, run)


@attrs.frozen(kw_only=True)
class OnTokens(Around):
    """Blocks that run on another number of tokens than their stack: (tokens + `plus`) · `times` // `over` + `then`.

    `fixed` instead runs them on that many tokens per sequence (pooling heads, learned queries).
    """

    plus: int = 0
    times: int = 1
    over: int = 1
    then: int = 0
    fixed: int | None = None

    def _inner(self, run: Pass) -> Pass:
        lengths = [self.length(q) for q in run.step.q_tokens]
        return attrs.evolve(run, step=Step.ragged(lengths, run.step.kv_tokens, run.logits))

    def length(self, tokens: int) -> int:
        """Tokens that the blocks run on, of a sequence with `tokens` in the stack."""
        if not tokens:
            return 0
        return max(0, tokens + self.plus) * self.times // self.over + self.then if self.fixed is None else self.fixed

    def of_image(self, tokens: int, _sides: tuple[int, int]) -> int:
        """The same of an image, whose (height, width) in patches may matter."""
        return self.length(tokens)

    def in_block(self, tokens: int, sides: tuple[int, int]) -> int:
        """`of_image`, with what separates them in the prompt and sees them in both directions."""
        return self.of_image(tokens, sides)


@attrs.frozen(kw_only=True)
class OnSides(OnTokens):
    """`OnTokens` of images whose sides say on how many: `of_image`. If nobody says them, patches alone count."""

    def _inner(self, run: Pass) -> Pass:
        if not run.grids:
            return super()._inner(run)
        lengths = [self.of_image(tokens, sides) for tokens, sides in zip(run.step.q_tokens, run.grids, strict=True)]
        return attrs.evolve(run, step=Step.ragged(lengths, run.step.kv_tokens, run.logits))


@attrs.frozen(kw_only=True)
class Padded(OnTokens):
    """`OnTokens` that an implementation runs on more tokens than are required, which counts as executed."""

    def _ran(self, lengths: Sequence[int]) -> Sequence[int]:
        """Tokens that the implementation runs the blocks on, of sequences with so many tokens in the stack."""
        raise NotImplementedError

    def _more(self, run: Pass) -> Pass:
        """Return the pass that the implementation runs."""
        return attrs.evolve(run, step=Step.ragged(self._ran(run.step.q_tokens), run.step.kv_tokens, run.logits))

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        self._twice(emit, run, lambda block, inner: block.token_ops(emit, inner))

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        self._twice(emit, run, lambda block, inner: block.context_ops(emit, inner))

    def _twice(self, emit: Emitter, run: Pass, ops_of: Callable[[Block, Pass], None]) -> None:
        first = len(emit.ops)
        for block in self.blocks:
            ops_of(block, self._inner(run))
        required = emit.ops[first:]
        del emit.ops[first:]
        for block in self.blocks:
            ops_of(block, self._more(run))
        emit.ops[first:] = [
            attrs.evolve(op, flops_executed=ran.flops_executed)
            for op, ran in zip(required, emit.ops[first:], strict=True)
        ]


@attrs.frozen(kw_only=True)
class LastTokens(Around):
    """Blocks that only the tokens with logits need: layers that write no cache of their own and feed only the head."""

    def _inner(self, run: Pass) -> Pass:
        keep = -(-run.logits // max(1, run.step.batch))
        lengths = [min(q, keep) for q in run.step.q_tokens]
        seen = [kv + q - kept for q, kv, kept in zip(run.step.q_tokens, run.step.kv_tokens, lengths, strict=True)]
        return attrs.evolve(run, step=Step.ragged(lengths, seen, run.logits))


@attrs.frozen(kw_only=True)
class WithImages(Around):
    """Blocks that a pass runs if there are images that its layers look at; a pass over text alone skips them."""

    @property
    def idle_params(self) -> int:
        return self.params

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        if any(run.encoder_tokens):
            super().token_ops(emit, run)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        if any(run.encoder_tokens):
            super().context_ops(emit, run)


@attrs.frozen(kw_only=True)
class MoeByModality(Around):
    """Two sets of experts: text goes through the first, tokens of images through the second. Shared ones see all."""

    blocks: tuple[Moe, Moe]

    @property
    def idle_params(self) -> int:
        return self.blocks[0].idle_params + self.blocks[1].params

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        text, images = self.blocks
        seen = min(sum(run.images), run.tokens)
        if not seen:
            text.token_ops(emit, run)
            return
        rest = attrs.evolve(run.step, q_tokens=(run.tokens - seen,), kv_tokens=(0,))
        attrs.evolve(text, shared=0).token_ops(emit, attrs.evolve(run, step=rest))
        images.token_ops(emit, attrs.evolve(run, step=Step.ragged((seen,), (0,))))
        if text.shared_experts:
            text.shared_experts.token_ops(emit, run)


@attrs.frozen
class Constant(Block):
    """Parameters read once per pass that take part in no product: class tokens, position tables, layer scales."""

    name: str
    count: int

    @property
    def params(self) -> int:
        return self.count

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        emit.add("constant", self.name, weight=emit.plain_bytes(self.count) if run.tokens else 0)
