"""Decoders after the first GPT: LayerNorm, biases everywhere, a plain MLP, multi-head attention."""

from __future__ import annotations

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Norm
from nsys_pipeline.model.families.common import Builder, DecoderSpec, Verified, dense_ffn, read_dims
from nsys_pipeline.model.fields import Fields


def _gpt(
    f: Fields, *, hidden: int | None, positions: int = 0, final_norm: bool = True, head_bias: bool = False
) -> Architecture:
    dims = read_dims(f, kv_heads=f.dim("num_attention_heads"))
    return DecoderSpec(
        dims=dims,
        q_bias=True,
        o_bias=True,
        norm="layer",
        final_norm=final_norm,
        ffn=dense_ffn(f, dims.width, gated=False, bias=True, hidden=hidden or 4 * dims.width),
        tied=f.flag("tie_word_embeddings"),
        head_bias=head_bias,
        positions=positions,
    ).build(f.model_type)


def openai_gpt(f: Fields) -> Architecture:
    """GPT 1: norms after the blocks, so that none comes last. transformers keeps no cache for it; engines may."""
    return _gpt(f, hidden=None, positions=f.dim("n_positions"), final_norm=False)


def gpt2(f: Fields) -> Architecture:
    """Learned positions, and a plain MLP of four times the width."""
    return _gpt(f, hidden=f.opt_int("n_inner"), positions=f.dim("n_positions", "max_position_embeddings", "n_ctx"))


def ctrl(f: Fields) -> Architecture:
    """Sinusoidal positions, and a bias on the head."""
    return _gpt(f, hidden=f.dim("dff"), head_bias=True)


def xglm(f: Fields) -> Architecture:
    """Sinusoidal positions."""
    return _gpt(f, hidden=f.dim("ffn_dim"))


def biogpt(f: Fields) -> Architecture:
    """Learned positions, two rows more than the context."""
    return _gpt(f, hidden=f.dim("intermediate_size"), positions=f.dim("max_position_embeddings") + 2)


def kosmos2(f: Fields) -> Architecture:
    """KOSMOS-2's decoder: sinusoidal positions; norms inside attention and MLP, too (Magneto, arXiv 2210.06423)."""
    dims, hidden = read_dims(f), f.dim("ffn_dim")
    inner = (Norm("attention_inner_norm", dims.width, 2 * dims.width), Norm("mlp_inner_norm", hidden, 2 * hidden))
    return DecoderSpec(
        dims=dims,
        q_bias=True,
        o_bias=True,
        norm="layer",
        ffn=dense_ffn(f, dims.width, gated=False, bias=True, hidden=hidden),
        more=inner,
        tied=f.flag("tie_word_embeddings"),
    ).build(f.model_type)


GPT: dict[str, Builder] = {
    "biogpt": Verified(biogpt),
    "ctrl": Verified(ctrl),
    "gpt2": Verified(gpt2),
    "kosmos_2_text_model": kosmos2,
    "openai-gpt": Verified(openai_gpt),
    "xglm": Verified(xglm),
}
