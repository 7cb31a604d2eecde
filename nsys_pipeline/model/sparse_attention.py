"""Attention to the keys, or blocks of keys, that a small indexer picks."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.blocks import Attention, LatentAttention, step_shapes
from nsys_pipeline.model.compressed_attention import Compressor
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.masks import causal_pairs, double_pairs, pooled_pairs, triangle
from nsys_pipeline.model.quantization import ATTENTION


def _pool_and_tail_pairs(q: int, cached: int, pool: int, most: int, *, tail: bool = True) -> int:
    """Pairs of `q` new tokens over `cached` ones with the keys of `most` closed pools, and of the open one."""

    def first(tokens: int) -> int:
        runs, rest = divmod(tokens, pool)
        open_pairs = runs * triangle(pool - 1) + triangle(rest) if tail else 0
        return pool * pooled_pairs(tokens, pool, most) + open_pairs

    return first(cached + q) - first(cached)


def _add_scores(
    emit: Emitter, run: Pass, *, pairs2: int, heads: int, dim: int, read: int, written: int, outputs: int, flops: int
) -> None:
    """Charge an indexer's scores, which every rank of a tensor-parallel group computes whole.

    `read` and `written` are values of the keys' cache, `outputs` values a token that the projections left.
    """
    emit.add(
        "attention",
        "index_scores",
        m=run.tokens,
        n=pairs2 // (2 * run.tokens) if run.tokens else 0,
        k=dim,
        batch=heads,
        flops=flops,
        executed=emit.tp * flops,
        kv_read=emit.tp * emit.index_bytes(read, dim),
        kv_write=emit.tp * emit.index_bytes(written, dim),
        activation=emit.plain_bytes(run.tokens * outputs),
    )


@attrs.frozen(kw_only=True)
class SparseLatentAttention(LatentAttention):
    """DeepSeek sparse attention (DeepSeek-V3.2 report, 2.1): a query attends to the `top_keys` best-scored keys.

    The indexer scores every earlier key with `index_heads` small heads that share one key of `index_dim` values, cached
    beside the latents. ``exact`` charges attention for the keys picked and the indexer for all that the mask lets
    through; transformers computes attention on all keys and masks, which is what `full` counts. Without `has_indexer` a
    layer reuses what an earlier one picked.

    Without latents of the query the indexer's come from the hidden state, with a norm before and a scale and a shift
    per head after (Mistral Large 4). `pool`: the indexer scores pools of that many keys, and a query also attends to
    the pool that is still open if `open_pool` (GLM-5.3).
    """

    top_keys: int
    index_heads: int
    index_dim: int
    has_indexer: bool = True
    pool: int | None = None
    open_pool: bool = True

    @property
    def params(self) -> int:
        return super().params + (self._index_params if self.has_indexer else 0)

    @property
    def _index_out(self) -> int:
        return self.index_heads * self.index_dim

    @property
    def _index_norms(self) -> int:
        query = 0 if self.q_rank else 2 * (self.width + self.index_heads)
        return 2 * self.index_dim + query + (self.pool or 0) * self.index_dim

    @property
    def _index_keys(self) -> int:
        """Columns of the projection of keys, gates of a pool's keys included."""
        return self.index_dim * (2 if self.pool else 1)

    @property
    def _index_params(self) -> int:
        products = (self.q_rank or self.width) * self._index_out + self.width * (self._index_keys + self.index_heads)
        return products + self._index_norms

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        super().token_ops(emit, run)
        if not self.has_indexer:
            return
        # Every rank of a tensor-parallel group needs the same keys, so that each runs the whole indexer.
        inputs = self.q_rank or self.width
        emit.gemm("index_q", ATTENTION, run.tokens, self._index_out, inputs, replicas=emit.tp)
        emit.gemm("index_k", ATTENTION, run.tokens, self._index_keys, self.width, replicas=emit.tp)
        emit.gemm("index_weights", ATTENTION, run.tokens, self.index_heads, self.width, replicas=emit.tp)
        emit.norm("index_norms", self._index_norms, run.tokens * self.index_dim)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        super().context_ops(emit, run)
        if not self.has_indexer:
            return
        mode = emit.conventions.attention
        shapes = [(q, cached, count) for (q, cached), count in step_shapes(run.step) if q]
        if self.pool:
            pooled = Compressor(self.pool, self.index_dim, overlap=False)
            pairs2 = sum(count * pooled.pairs2(mode, q, cached) for q, cached, count in shapes)
            read = sum(count * pooled.read(q, cached) for q, cached, count in shapes)
            written = sum(count * pooled.written(q, cached) for q, cached, count in shapes)
        else:
            pairs2 = sum(count * double_pairs(mode, q, cached) for q, cached, count in shapes)
            read = sum(count * cached for _, cached, count in shapes) * self.index_dim
            written = run.tokens * self.index_dim
        _add_scores(
            emit,
            run,
            pairs2=pairs2,
            heads=self.index_heads,
            dim=self.index_dim,
            read=read,
            written=written,
            outputs=self._index_out + self.index_heads,
            # The heads' scores are weighed and summed as well.
            flops=pairs2 * self.index_heads * (self.index_dim + 1),
        )

    def _pairs2(self, mode: str, q: int, cached: int) -> int:
        if mode != "exact":
            return double_pairs(mode, q, cached)
        if self.pool:
            return 2 * _pool_and_tail_pairs(q, cached, self.pool, self.top_keys // self.pool, tail=self.open_pool)
        return double_pairs(mode, q, cached, self.top_keys)

    def _keys_read(self, q: int, cached: int) -> int:
        tail = cached % self.pool if self.pool and self.open_pool else 0
        return min(cached, q * self.top_keys + tail)


@attrs.frozen(kw_only=True)
class _IndexedAttention(Attention):
    """Attention with an indexer of `index_heads` small heads, which share one cached key of `index_dim` values."""

    index_heads: int
    index_dim: int

    @property
    def params(self) -> int:
        return super().params + self.width * self._index_out + 2 * self.index_dim

    @property
    def _index_out(self) -> int:
        return (self.index_heads + 1) * self.index_dim

    def _add_index_scores(self, emit: Emitter, run: Pass, *, pairs2: int, read: int, written: int) -> None:
        """Charge the scores of `pairs2` / 2 pairs; `read` and `written` are index keys."""
        _add_scores(
            emit,
            run,
            pairs2=pairs2,
            heads=self.index_heads,
            dim=self.index_dim,
            read=read * self.index_dim,
            written=written * self.index_dim,
            outputs=self._index_out,
            flops=pairs2 * self.index_heads * self.index_dim,
        )


@attrs.frozen(kw_only=True)
class BlockSparseAttention(_IndexedAttention):
    """A query attends to its own block of `block` keys and to the best-scored `top_blocks` - 1 before it (MiniMax-M3).

    The indexer scores every earlier key with `index_heads` small heads that share one key of `index_dim` values, cached
    beside K and V; a block's score is that of its best key. ``exact`` charges the keys of the blocks picked, and the
    scores of all that the mask lets through; transformers computes all and masks, which is what ``full`` counts.
    """

    block: int
    top_blocks: int

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        super().token_ops(emit, run)
        # Heads are fewer than ranks may be, and the key is shared, so that each rank runs the whole indexer.
        emit.gemm("index_q", ATTENTION, run.tokens, self.index_heads * self.index_dim, self.width, replicas=emit.tp)
        emit.gemm("index_k", ATTENTION, run.tokens, self.index_dim, self.width, replicas=emit.tp)
        emit.norm("index_norm", 2 * self.index_dim, run.tokens * self._index_out)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        super().context_ops(emit, run)
        pairs2, cached = super()._load(run, emit.conventions.attention)
        self._add_index_scores(emit, run, pairs2=pairs2, read=cached, written=run.tokens)

    def _load(self, run: Pass, mode: str) -> tuple[int, int]:
        pairs2, _ = super()._load(run, mode)
        shapes = [(q, cached, count) for (q, cached), count in step_shapes(run.step) if q]
        if mode == "exact":
            pairs2 = 2 * sum(count * self._pairs(q, cached) for q, cached, count in shapes)
        others = (self.top_blocks - 1) * self.block
        return pairs2, sum(count * min(kv, q * others + kv % self.block) for q, kv, count in shapes)

    def _pairs(self, q: int, cached: int) -> int:
        """Pairs of one sequence: within the own blocks, and with whole blocks before them."""
        before = self._blocks_before(cached + q) - self._blocks_before(cached)
        return causal_pairs(q, cached, chunk=self.block) + self.block * before

    def _blocks_before(self, tokens: int) -> int:
        """Blocks picked before their own by all of the first `tokens` positions: p // block each, up to a limit."""
        most = self.top_blocks - 1
        growing = min(tokens, most * self.block)
        runs, rest = divmod(growing, self.block)
        return self.block * runs * (runs - 1) // 2 + runs * rest + (tokens - growing) * most


@attrs.frozen(kw_only=True)
class PooledSparseAttention(_IndexedAttention):
    """A query attends to the `top_pools` best-scored pools of `pool` keys and to the pool that is open (Qwen4-Exp).

    The indexer scores the mean of each closed pool's index keys, of which one of `index_dim` values is cached per pool.
    transformers scores what a query may see, and no more, so that scores are the same in all attention conventions.
    """

    pool: int
    top_pools: int

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        super().token_ops(emit, run)
        emit.gemm("index_qk", ATTENTION, run.tokens, self._index_out, self.width, replicas=emit.tp)
        emit.norm("index_norm", 2 * self.index_dim, run.tokens * self._index_out)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        super().context_ops(emit, run)
        shapes = [(q, cached, count) for (q, cached), count in step_shapes(run.step) if q]
        pairs = sum(
            count * (pooled_pairs(cached + q, self.pool) - pooled_pairs(cached, self.pool))
            for q, cached, count in shapes
        )
        # A pool that is open is a running sum.
        read = sum(count * -(-cached // self.pool) for _, cached, count in shapes)
        written = sum(count * (-(-(cached + q) // self.pool) - cached // self.pool) for q, cached, count in shapes)
        self._add_index_scores(emit, run, pairs2=2 * pairs, read=read, written=written)

    def _load(self, run: Pass, mode: str) -> tuple[int, int]:
        pairs2, _ = super()._load(run, mode)
        shapes = [(q, cached, count) for (q, cached), count in step_shapes(run.step) if q]
        if mode == "exact":
            pairs2 = 2 * sum(
                count * _pool_and_tail_pairs(q, cached, self.pool, self.top_pools) for q, cached, count in shapes
            )
        most = self.top_pools * self.pool
        return pairs2, sum(count * min(kv, q * most + kv % self.pool) for q, kv, count in shapes)
