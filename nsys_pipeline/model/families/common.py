"""What decoder families share: sizes, windows, and the assembly of a stack from per-layer blocks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, Mlp, Moe, Norm
from nsys_pipeline.model.fields import Fields

Builder = Callable[[Fields], Architecture]


@attrs.frozen
class Verified:
    """A builder whose totals equal torch's count of transformers' code to the last FLOP, in the golden tests."""

    build: Builder

    def __call__(self, f: Fields) -> Architecture:
        """The architecture behind a config."""
        return self.build(f)


def class_names(f: Fields) -> str:
    """Names of the classes that a checkpoint was saved from, which say what head it has."""
    return " ".join(str(name) for name in f.items("architectures") or [])


def label_count(f: Fields) -> int:
    """Classes that a classifier tells apart; transformers' default is two."""
    labels = f.get("id2label", default=None)
    return len(labels) if labels is not None else f.opt_int("num_labels") or 2


@attrs.frozen
class Dims:
    """Sizes that every decoder has."""

    width: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @property
    def qk_norm_per_head(self) -> int:
        """Weights of a norm on each head of Q and of K, shared by the heads."""
        return 2 * self.head_dim

    @property
    def qk_norm_full(self) -> int:
        """Weights of norms over the whole of Q and the whole of K."""
        return (self.heads + self.kv_heads) * self.head_dim


def read_dims(f: Fields, *, kv_heads: int | None = None) -> Dims:
    """Sizes from the usual names. Raises ModelError where heads do not divide as they must."""
    width, heads = f.dim("hidden_size"), f.dim("num_attention_heads")
    kv = kv_heads or f.integer("num_key_value_heads", default=heads)
    f.divides("num_attention_heads", heads, "num_key_value_heads", kv)
    head_dim = f.opt_int("head_dim")
    if head_dim is None:
        head_dim = f.divides("hidden_size", width, "num_attention_heads", heads)
    return Dims(width, f.dim("num_hidden_layers"), heads, kv, head_dim, f.dim("vocab_size"))


def norm_weights(kind: str, width: int) -> int:
    """Parameters of a norm: `rms` has a scale, `layer` a scale and a shift, `plain` none."""
    return {"rms": width, "layer": 2 * width, "plain": 0}[kind]


#: Kinds of layers of models with recurrent layers beside attention.
LINEAR_OR_FULL = ("linear_attention", "full_attention")
#: Older names of kinds, which transformers reads as the newer ones.
_LEGACY_KINDS = {
    "mamba": "linear_attention",
    "attention": "full_attention",
    "deepseek_sparse_attention": "indexed_attention",
    "qwen_sparse_attention": "indexed_attention",
}


def layer_kinds(
    f: Fields,
    depth: int,
    fallback: Callable[[int], str],
    known: Collection[str] = ("full_attention", "sliding_attention"),
) -> list[str]:
    """The config's `layer_types`, or those that `fallback` gives for each layer index.

    Raises ModelError for a kind that the family does not have: it is not among `known`.
    """
    kinds = f.items("layer_types")
    if kinds is None:
        return [fallback(index) for index in range(depth)]
    if len(kinds) != depth:
        raise f.wrong("layer_types", f"lists {len(kinds)} layers, but there are {depth}")
    named = [_LEGACY_KINDS.get(str(kind), str(kind)) for kind in kinds]
    unknown = sorted({str(kind) for kind, name in zip(kinds, named, strict=True) if name not in known})
    if unknown:
        raise f.wrong("layer_types", f"names kinds that are not known: {', '.join(unknown)}; known: {', '.join(known)}")
    return named


def check_kinds(f: Fields, depth: int, *known: str) -> None:
    """Raise ModelError where `layer_types` names others than `known`: for families that follow other fields."""
    layer_kinds(f, depth, lambda _: known[0], known)


def read_window(f: Fields, name: str = "sliding_window") -> int | None:
    """The window of layers that slide, None where the field is absent or null. Raises ModelError for none below 1."""
    value = f.get(name)
    return None if value is None or value is False else f.checked(name, value)


def per_layer(f: Fields, name: str, depth: int) -> list[Any] | None:
    """A list with one value for each layer; None where the field is absent, null or empty."""
    values = f.items(name)
    if values and len(values) != depth:
        raise f.wrong(name, f"lists {len(values)} layers, but there are {depth}")
    return values or None


#: Text models whose layers may differ by `per_layer_config`.
_READ_OVERRIDES = frozenset({"dots3_note", "dots3_note_text", "gemma4_text", "gemma4_unified_text", "step3p5"})


def layer_overrides(f: Fields, depth: int, *read: str) -> list[Fields] | None:
    """The config of each layer where `per_layer_config` (layer number → fields) makes them differ; None without it.

    Raises ModelError where it changes another field than those that the family reads for each layer.
    """
    value = f.get("per_layer_config")
    if not value:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(fields, Mapping) for fields in value.values()):
        raise f.wrong("per_layer_config", "is no object of objects, one for each layer")
    # transformers pads the numbers with zeros: "05".
    numbers = {key: int(key) if str(key).isdecimal() else -1 for key in value}
    unknown = sorted(str(key) for key, number in numbers.items() if not 0 <= number < depth)
    if unknown:
        raise f.wrong("per_layer_config", f"names layers that are not there: {', '.join(unknown[:5])}")
    if len(set(numbers.values())) < len(numbers):
        raise f.wrong("per_layer_config", "names a layer twice")
    fields = {numbers[key]: dict(entry) for key, entry in value.items()}
    changed = {name for entry in fields.values() for name, own in entry.items() if own != f.get(name)}
    if unread := sorted(map(str, changed - set(read))):
        raise f.wrong("per_layer_config", f"makes layers differ in what is not read: {', '.join(unread[:5])}")
    return [f.replaced(**fields.get(index, {})) for index in range(depth)]


def plain_decoder(
    f: Fields,
    family: str,
    layers: Sequence[tuple[str, tuple[Block, ...]]],
    *,
    vocab: int,
    width: int,
    heads: int,
    kv_heads: int,
    before_norm: tuple[Block, ...] = (),
) -> Architecture:
    """A decoder of these layers, each a label and blocks, between a table, tied if the config says so, and the head."""
    stack = Stack(
        "decoder",
        group_layers("layers", layers),
        (Embedding("embed", vocab, width, tied=f.flag("tie_word_embeddings")),),
        (*before_norm, Norm("final_norm", width, width), Head(vocab, width)),
    )
    return Architecture(family=family, decoder=stack, heads=heads, kv_heads=kv_heads)


def refuse_overrides(f: Fields) -> None:
    """Raise ModelError where `per_layer_config` changes layers of a model type that is read as if all were alike."""
    if f.get("per_layer_config") and f.model_type not in _READ_OVERRIDES:
        raise f.wrong("per_layer_config", "makes layers differ, which is not supported for this model type")


def sliding(f: Fields, depth: int, is_sliding: Callable[[int], bool]) -> list[int | None]:
    """Window per layer (None: all tokens) for models whose layers are of two kinds."""
    kinds = layer_kinds(f, depth, lambda i: "sliding_attention" if is_sliding(i) else "full_attention")
    if "sliding_attention" not in kinds:
        return [None] * depth
    window = read_window(f)
    return [window if kind == "sliding_attention" else None for kind in kinds]


def every(f: Fields, depth: int, default: int) -> Callable[[int], bool]:
    """All layers slide except each n-th, n being `sliding_window_pattern`."""
    del depth
    pattern = f.opt_int("sliding_window_pattern", "_sliding_window_pattern") or default
    return lambda index: bool((index + 1) % pattern)


def lettered_windows(f: Fields) -> Callable[[int], bool]:
    """EXAONE's pattern, a number (each n-th layer sees everything) or letters (LLLG: three local ones to a global)."""
    pattern = f.get("sliding_window_pattern")
    length = len(pattern) if isinstance(pattern, str) else f.integer("sliding_window_pattern", default=4)
    return lambda index: (index + 1) % max(1, length) != 0


def uniform(depth: int, window: int | None) -> list[int | None]:
    """The same window in every layer."""
    return [window] * depth


@attrs.frozen(kw_only=True)
class DecoderSpec:
    """A decoder with one attention and one feed-forward block per layer, as most are.

    `norms` are the norms per layer over the full width; `qk_norm` the weights of norms on Q and K; `ffn` gives the
    feed-forward block of a layer and a name for its kind; `positions` the rows of a learned position table; `rolling`
    says whether caches drop what left the window; `more` are further blocks of each layer. Attention and feed-forward
    block are in parallel if `is_parallel` says so, or if a layer has one norm for both.
    """

    dims: Dims
    q_bias: bool = False
    kv_bias: bool | None = None
    v_bias: bool | None = None
    o_bias: bool = False
    norm: str = "rms"
    norms: int = 2
    final_norm: bool = True
    embedding_norm: bool = False
    qk_norm: int = 0
    sinks: bool = False
    windows: Sequence[int | None] | None = None
    rolling: bool = True
    chunks: Sequence[int | None] | None = None
    qk_norm_layers: Sequence[bool] | None = None
    ffn: Callable[[int], tuple[str, Block]]
    more: tuple[Block, ...] = ()
    tied: bool
    head_bias: bool = False
    positions: int = 0
    is_parallel: bool = False

    def layer(self, index: int) -> tuple[str, tuple[Block, ...]]:
        """Label and blocks of one layer."""
        d = self.dims
        window = self.windows[index] if self.windows is not None else None
        chunk = self.chunks[index] if self.chunks is not None else None
        normed = self.qk_norm_layers is None or self.qk_norm_layers[index]
        attention = Attention(
            width=d.width,
            heads=d.heads,
            kv_heads=d.kv_heads,
            head_dim=d.head_dim,
            q_bias=self.q_bias,
            kv_bias=self.q_bias if self.kv_bias is None else self.kv_bias,
            v_bias=self.v_bias,
            o_bias=self.o_bias,
            extra_params=(self.qk_norm if normed else 0) + (d.heads if self.sinks else 0),
            window=window,
            rolling=self.rolling,
            chunk=chunk,
        )
        ffn_name, ffn = self.ffn(index)
        if (self.is_parallel or self.norms == 1) and isinstance(ffn, Mlp | Moe):
            ffn = attrs.evolve(ffn, is_parallel=True)
        weights = norm_weights(self.norm, d.width)
        names = {0: [], 1: ["norm"], 2: ["attention_norm", "mlp_norm"]}.get(
            self.norms, [f"norm_{number}" for number in range(self.norms)]
        )
        norms = [Norm(name, d.width, weights) for name in names]
        kinds = [name for name, on in (("sliding", window), ("chunked", chunk)) if on]
        return ".".join([*kinds, *([ffn_name] if ffn_name else [])]), (*norms, attention, *self.more, ffn)

    def stack(self, name: str = "decoder", label: str = "layers") -> Stack:
        """The whole decoder with embedding, final norm and head."""
        d = self.dims
        weights = norm_weights(self.norm, d.width)
        before: list[Block] = [Embedding("embed", d.vocab, d.width, tied=self.tied)]
        if self.positions:
            before.append(Embedding("embed_positions", self.positions, d.width))
        if self.embedding_norm:
            before.append(Norm("embed_norm", d.width, weights))
        after: list[Block] = [Norm("final_norm", d.width, weights)] if self.final_norm else []
        after.append(Head(d.vocab, d.width, d.vocab if self.head_bias else 0))
        layers = group_layers(label, [self.layer(index) for index in range(d.depth)])
        return Stack(name, layers, tuple(before), tuple(after))

    def build(self, family: str) -> Architecture:
        """The architecture of a text-only decoder."""
        return Architecture(family=family, decoder=self.stack(), heads=self.dims.heads, kv_heads=self.dims.kv_heads)


def dense_ffn(
    f: Fields, width: int, *, gated: bool = True, bias: bool = False, hidden: int | None = None
) -> Callable[[int], tuple[str, Block]]:
    """The same MLP in every layer; `hidden` instead of the config's `intermediate_size`."""
    mlp = Mlp(width=width, hidden=hidden or f.dim("intermediate_size"), gated=gated, bias=bias)
    return lambda _index: ("", mlp)
