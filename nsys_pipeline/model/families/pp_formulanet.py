"""PP-FormulaNet: SAM on the picture of a formula, strided convolutions, and mBART's decoder that looks at the rest."""

from __future__ import annotations

from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Linear, OnTokens
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.sam import sam_sizes
from nsys_pipeline.model.families.towers import Tower, joined
from nsys_pipeline.model.families.vision_seq2seq import bart_like
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION

_SIZES = ("vocab_size", "decoder_layers", "decoder_ffn_dim", "decoder_attention_heads", "d_model")


def pp_formulanet(f: Fields) -> Architecture:
    """PP-FormulaNet (arXiv 2503.18382): one picture of the config's size for each sequence; the head is never tied."""
    t, v = f.part("text_config", "pp_formulanet_text"), f.part("vision_config", "pp_formulanet_vision")
    sam, width = sam_sizes(v), t.integer("d_model")
    inputs, middle, out = (v.integer(f"post_conv_{name}_channels") for name in ("in", "mid", "out"))
    if inputs != sam.out:
        raise v.wrong("post_conv_in_channels", f"is {inputs}, but `output_channels` is {sam.out}")
    if v.integer("decoder_hidden_size") != width:
        raise v.wrong("decoder_hidden_size", f"is not the decoder's `d_model`, {width}")
    half = -(-sam.side // 2)
    quarter = -(-half // 2)
    last = (
        Linear("projector_conv2", out, 9 * middle, role=VISION),
        Linear("projector_1", out, out, out, role=VISION),
        Linear("projector_2", width, out, width, role=VISION),
    )
    after = (
        *sam.after(),
        OnTokens(blocks=(Linear("projector_conv1", middle, 9 * inputs, role=VISION),), fixed=half * half),
        OnTokens(blocks=last, fixed=quarter * quarter),
    )
    tower = Tower(Stack(VISION, sam.layers("vision.sam"), sam.before(), after), sam.out, sam.side**2)
    # mBART's layers, not the defaults of its class.
    own = {name: value for name in _SIZES if (value := t.get(name)) is not None}
    decoder, heads = bart_like(t.replaced(tie_word_embeddings=False, **own).named("mbart"), None)
    text = Architecture(
        family="pp_formulanet", decoder=decoder, heads=heads, kv_heads=heads, cross_attends_to_images=True,
        needs_image=True,
    )  # fmt: skip
    return joined(f, text, tower)


PP_FORMULANET: dict[str, Builder] = {"pp_formulanet": Verified(pp_formulanet)}
