"""Attention to a window and to compressed entries, as in DeepSeek-V4, and its residual streams."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.blocks import Block, step_shapes
from nsys_pipeline.model.dtypes import bytes_of
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.masks import cached_keys, double_pairs, pooled_pairs
from nsys_pipeline.model.quantization import ATTENTION, ROUTER


@attrs.frozen
class Compressor:
    """Pools every `rate` tokens into one entry of `dim` values, by gates that a softmax normalizes.

    With `overlap` an entry also pools the window before its own, from a second series of keys and gates. What a window
    has collected so far is a state, keys and gates, that is read when the window closes.
    """

    rate: int
    dim: int
    overlap: bool

    @property
    def _columns(self) -> int:
        return self.dim * (2 if self.overlap else 1)

    def params(self, width: int) -> int:
        """Parameters over hidden states of `width`: projections of keys and gates, a bias per position, a norm."""
        return 2 * width * self._columns + self.rate * self._columns + self.dim

    def token_ops(self, emit: Emitter, run: Pass, name: str, width: int) -> None:
        """The projections. The single head is no rank's alone, so that all tensor-parallel ranks run it.

        Checkpoints keep them in the model's dtype, as they do routers.
        """
        emit.gemm(name, ROUTER, run.tokens, 2 * self._columns, width, replicas=emit.tp)
        small = self.rate * self._columns + self.dim
        emit.norm(f"{name}_norm", small, run.tokens * self.dim)

    def pairs2(self, mode: str, q: int, cached: int, most: int | None = None) -> int:
        """Twice the (query, entry) pairs of one sequence under the attention convention `mode`."""
        if mode == "exact":
            return 2 * (pooled_pairs(cached + q, self.rate, most) - pooled_pairs(cached, self.rate, most))
        old, held = cached // self.rate, (cached + q) // self.rate
        return q * (old + held) if mode == "half" else 2 * q * held

    def read(self, q: int, cached: int, most: int | None = None) -> int:
        """Values read for one sequence: the entries (with `most`, those that queries pick) and closing windows."""
        old, held = cached // self.rate, (cached + q) // self.rate
        entries = old if most is None else min(old, q * most)
        state = 2 * self._columns * (cached % self.rate) if held > old else 0
        before = 2 * self.dim * self.rate if self.overlap and held > old > 0 else 0
        return entries * self.dim + state + before

    def written(self, q: int, cached: int) -> int:
        """Values written for one sequence: new entries, and what the open window collects."""
        old, held = cached // self.rate, (cached + q) // self.rate
        collected = (cached + q) % self.rate if held > old else q
        before = 2 * self.dim * self.rate if self.overlap and held > old else 0
        return (held - old) * self.dim + 2 * self._columns * collected + before


@attrs.frozen(kw_only=True)
class CompressedAttention(Block):
    """One key that is its own value for all heads, in a window and, behind it, in compressed entries.

    Heads of `head_dim` from a latent of `q_rank`; the output goes through `groups` matrices to `out_rank` values each
    and from there to the width. Without a `compressor` a layer sees its window alone. With an `indexer` a query attends
    to the `top_entries` best-scored entries; ``exact`` charges those, and the scores of all that it may see.
    transformers attends to all entries and masks, which is what ``full`` counts.
    """

    width: int
    heads: int
    head_dim: int
    q_rank: int
    groups: int
    out_rank: int
    window: int
    compressor: Compressor | None = None
    indexer: Compressor | None = None
    index_heads: int = 0
    top_entries: int | None = None

    @property
    def params(self) -> int:
        inner = self.heads * self.head_dim
        query = self.width * self.q_rank + self.q_rank + self.q_rank * inner
        key = self.width * self.head_dim + self.head_dim
        out = inner * self.out_rank + self.groups * self.out_rank * self.width
        entries = self.compressor.params(self.width) if self.compressor else 0
        return query + key + out + self.heads + entries + self._index_params

    @property
    def _index_params(self) -> int:
        if self.indexer is None:
            return 0
        return self.indexer.params(self.width) + self.index_heads * (self.q_rank * self.indexer.dim + self.width)

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        width, tokens, inner = self.width, run.tokens, self.heads * self.head_dim
        emit.gemm("q_a", ATTENTION, tokens, self.q_rank, width, replicas=emit.tp)
        emit.norm("q_a_norm", self.q_rank, tokens * self.q_rank)
        emit.gemm("q_b", ATTENTION, tokens, inner, self.q_rank)
        emit.gemm("kv", ATTENTION, tokens, self.head_dim, width, replicas=emit.tp)
        emit.norm("kv_norm", self.head_dim + self.heads, tokens * self.head_dim)
        if self.compressor:
            self.compressor.token_ops(emit, run, "compressor", width)
        if self.indexer:
            self.indexer.token_ops(emit, run, "index_compressor", width)
            index_out = self.index_heads * self.indexer.dim
            emit.gemm("index_q", ATTENTION, tokens, index_out, self.q_rank, replicas=emit.tp)
            emit.gemm("index_weights", ROUTER, tokens, self.index_heads, width, replicas=emit.tp)
        fmt = emit.format(ATTENTION, "o_a")
        emit.add(
            "gemm",
            "o_a",
            m=tokens,
            n=self.out_rank,
            k=inner // self.groups,
            batch=self.groups,
            dtype=fmt.compute,
            flops=2 * tokens * inner * self.out_rank,
            weight=fmt.bytes(self.groups * self.out_rank, inner // self.groups) if tokens else 0,
            activation=emit.plain_bytes(tokens * (inner + self.groups * self.out_rank)),
        )
        emit.gemm("o_b", ATTENTION, tokens, width, self.groups * self.out_rank)
        emit.all_reduce("attention_all_reduce", tokens * width)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        mode, dim = emit.conventions.attention, self.head_dim
        shapes = [(q, cached, count) for (q, cached), count in step_shapes(run.step) if q]
        pairs2 = sum(count * double_pairs(mode, q, cached, self.window) for q, cached, count in shapes)
        read = sum(count * cached_keys(cached, self.window) * dim for _, cached, count in shapes)
        written = run.tokens * dim
        if self.compressor:
            most = self.top_entries
            pairs2 += sum(count * self.compressor.pairs2(mode, q, cached, most) for q, cached, count in shapes)
            read += sum(count * self.compressor.read(q, cached, most) for q, cached, count in shapes)
            written += sum(count * self.compressor.written(q, cached) for q, cached, count in shapes)
        self._attend(emit, run, "attention", self.heads, dim, pairs2, values=2, moved=(read, written))
        if self.indexer:
            pairs2 = sum(count * self.indexer.pairs2(mode, q, cached) for q, cached, count in shapes)
            read = sum(count * self.indexer.read(q, cached) for q, cached, count in shapes)
            written = sum(count * self.indexer.written(q, cached) for q, cached, count in shapes)
            self._attend(
                emit, run, "index_scores", self.index_heads, self.indexer.dim, pairs2, values=1,
                moved=(read, written), replicas=emit.tp,
            )  # fmt: skip

    def _attend(
        self, emit: Emitter, run: Pass, name: str, heads: int, dim: int, pairs2: int, *, values: int,
        moved: tuple[int, int], replicas: int = 1,
    ) -> None:  # fmt: skip
        """`values` products of `dim` per pair and head; `moved` values read from and written to the cache."""
        flops = pairs2 * heads * dim * values
        emit.add(
            "attention",
            name,
            m=run.tokens,
            n=pairs2 // (2 * run.tokens) if run.tokens else 0,
            k=dim,
            batch=heads,
            flops=flops,
            executed=replicas * flops,
            kv_read=emit.tp * emit.kv_bytes(moved[0]),
            kv_write=emit.tp * emit.kv_bytes(moved[1]),
            activation=emit.plain_bytes(run.tokens * heads * dim * values),
        )


@attrs.frozen
class HyperConnection(Block):
    """Manifold-constrained hyper-connections (arXiv 2512.24880): `streams` residual streams instead of one.

    A projection of all streams gives what collapses them into the input of a block, spreads its output and mixes them.
    Mixing is a product of its own; collapsing and spreading are elementwise. Weights are kept in fp32. `final`: the
    last one, which only collapses. Without `mixes` the streams stay apart (Hunyuan 4).
    """

    name: str
    width: int
    streams: int
    final: bool = False
    mixes: bool = True

    @property
    def _outputs(self) -> int:
        return self.streams * (1 if self.final else self.streams + 2 if self.mixes else 2)

    @property
    def params(self) -> int:
        return self._outputs * (self.streams * self.width + 1) + (1 if self.final else 3 if self.mixes else 2)

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        tokens, n, k = run.tokens, self._outputs, self.streams * self.width
        flops = 2 * tokens * n * k
        emit.add(
            "gemm", self.name, m=tokens, n=n, k=k, flops=flops, executed=emit.tp * flops,
            weight=emit.tp * bytes_of(self.params, "fp32") if tokens else 0,
            activation=emit.plain_bytes(tokens * (n + k)),
        )  # fmt: skip
        if self.mixes and not self.final:
            mixed = 2 * tokens * self.streams * k
            emit.add(
                "gemm", f"{self.name}_mix", m=self.streams, n=self.width, k=self.streams, batch=tokens,
                flops=mixed, executed=emit.tp * mixed, activation=2 * emit.plain_bytes(tokens * k),
            )  # fmt: skip
