"""Models of images and text whose towers see tiles of a page: Granite Docling, Molmo 2."""

from __future__ import annotations

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Around, Block, Constant, Linear, Norm, OnSides, OnTokens, Padded
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import attend, grid, patch_embedding, placed_patches, vision_encoder
from nsys_pipeline.model.families.towers import Tower, joined, read_text, text_width
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION
from nsys_pipeline.records import Step


@attrs.frozen(kw_only=True)
class _OncePerPrompt(Around):
    """Blocks that run on one token for each sequence of the prompt, whatever its images."""

    def _inner(self, run: Pass) -> Pass:
        prompts = run.prompts if run.tokens else 0
        return attrs.evolve(run, step=Step.uniform(batch=prompts, q_tokens=1, logits=0))


def granite_docling(f: Fields) -> Architecture:
    """Granite Docling: SigLIP on tiles; squares of patches through one matrix, and those of some layers through two.

    A processor may be told to leave four times as many tokens (`fine_route`): no config says so, and that is not read.
    """
    text = read_text(f, "granite_docling_text")
    v = f.part("vision_config", "granite_docling_vision")
    spec, (side, _) = vision_encoder(v), grid(v)
    width, out, scale = spec.width, text_width(text), v.integer("scale_factor", default=4)
    told = v.indices("deepstack_visual_indexes")
    levels = [3, 7, 10] if told is None else told

    def path(scale: int) -> tuple[Block, ...]:
        v.divides("image_size", side, "scale_factor", scale)
        inputs = scale * scale * width
        mergers = [
            block
            for index in range(len(levels))
            for block in (
                Norm(f"deepstack_{index}_norm", inputs, 2 * inputs),
                Linear(f"deepstack_{index}_1", out, inputs, out, role=VISION),
                Linear(f"deepstack_{index}_2", out, out, out, role=VISION),
            )
        ]
        return (Linear("projector_1", out, inputs, role=VISION), *mergers)

    if len({level for level in levels if level < spec.depth}) < len(levels):
        raise v.wrong("deepstack_visual_indexes", f"is {levels}, but there are {spec.depth} layers")
    has_fine = v.flag("use_fine_route", default=True)
    unused = sum(block.params for block in path(scale // 2)) if has_fine else 0
    router: tuple[Block, ...] = ()
    if hidden := f.opt_int("density_router_hidden_size"):
        router = (
            Linear("router_pool", 1, width, 1, role=VISION),
            _OncePerPrompt(
                blocks=(
                    Norm("router_norm", width, 2 * width),
                    Linear("router_1", hidden, width, hidden, role=VISION),
                    Linear("router_2", 1, hidden, 1, role=VISION),
                )
            ),
        )
    projector = (
        *path(scale),
        Norm("projector_norm", out, 2 * out),
        Linear("projector_2", out, out, role=VISION),
        Norm("projector_last_norm", out, 2 * out),
    )
    after = (
        Norm("post_norm", width, 2 * width),
        *router,
        Norm("projector_first_norm", width, 2 * width),
        OnTokens(blocks=projector, over=scale * scale),
    )
    stack = Stack(VISION, spec.layers("vision.layers"), placed_patches(v), after)
    model = joined(f, text, Tower(stack, width, side * side))
    fine = ("the projector's fine route",) if has_fine and model.vision else ()
    return attrs.evolve(model, unused_params=text.unused_params + (unused if model.vision else 0), uncounted=fine)


#: Patches of a crop of Molmo 2 that lie in its neighbours, too, and patches on a side of a square that becomes a token
#: (transformers, image_processing_molmo2.py).
MOLMO_MARGIN, _MOLMO_POOL = 8, 2


@attrs.frozen(kw_only=True)
class _OnCrops(Around):
    """Blocks that run on each crop of a canvas of patches, of `side` patches on a side, and once on the whole image."""

    side: int

    def _inner(self, run: Pass) -> Pass:
        views = sum(1 + _crops(canvas, self.side) for canvas in _canvases(run))
        return attrs.evolve(run, step=Step.uniform(batch=views, q_tokens=self.side**2, logits=0))


def _canvases(run: Pass) -> list[tuple[int, int]]:
    """Height and width in patches of each image; a row of patches if nobody says them."""
    if run.grids:
        return list(run.grids)
    return [(1, tokens) for tokens in run.step.q_tokens if tokens]


def _crops(canvas: tuple[int, int], side: int) -> int:
    """Crops of a canvas. Raises ModelError if they are not whole."""
    step = side - MOLMO_MARGIN
    # A pass of one token asks which weights there are.
    if canvas == (1, 1):
        return 1
    if any(edge < side or (edge - MOLMO_MARGIN) % step for edge in canvas):
        raise ModelError(
            f"{canvas[0]}x{canvas[1]} patches are no canvas of crops of {side}: each side is {MOLMO_MARGIN} patches and"
            f" a multiple of {step}",
            hint="pass --image-size HxW in pixels",
        )
    rows, columns = ((edge - MOLMO_MARGIN) // step for edge in canvas)
    return rows * columns


def _halved(sides: tuple[int, int]) -> tuple[int, int]:
    height, width = sides
    return -(-height // _MOLMO_POOL), -(-width // _MOLMO_POOL)


@attrs.frozen(kw_only=True)
class _Squares(OnSides):
    """Blocks on a token for each square of patches of a canvas and of the whole image, of `side` patches on a side."""

    side: int

    def of_image(self, _tokens: int, sides: tuple[int, int]) -> int:
        rows, columns = _halved(sides)
        return rows * columns + self._whole**2

    def length(self, tokens: int) -> int:
        """Tokens of an image of so many patches in a row."""
        return self.of_image(tokens, (1, tokens)) if tokens else 0

    def in_block(self, _tokens: int, sides: tuple[int, int]) -> int:
        """With the ends of rows, and a token before and behind the canvas and the whole image."""
        rows, columns = _halved(sides)
        return rows * (columns + 1) + 2 + self._whole * (self._whole + 1) + 2

    @property
    def _whole(self) -> int:
        return -(-self.side // _MOLMO_POOL)


@attrs.frozen(kw_only=True)
class _Pooled(Padded):
    """Blocks on the patches that squares are made of; those that fill squares up at the edges count as executed."""

    side: int

    def _inner(self, run: Pass) -> Pass:
        return self._on(run, [height * width + self.side**2 for height, width in _canvases(run)])

    def _more(self, run: Pass) -> Pass:
        squares = _Squares(blocks=(), side=self.side)
        return self._on(run, [_MOLMO_POOL**2 * squares.of_image(0, canvas) for canvas in _canvases(run)])

    def _on(self, run: Pass, lengths: list[int]) -> Pass:
        return attrs.evolve(run, step=Step.ragged(lengths, [0] * len(lengths), 0))


@attrs.frozen
class _OneQueryEach(Block):
    """The products of attention in which each patch has one query that looks at it."""

    width: int

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        attend(emit, "merger_attention", self.width, run.tokens, run.tokens)


def _feature_layers(a: Fields, depth: int) -> list[int]:
    """Layers of the tower that are pooled, side by side. Raises ModelError for those that it has not."""
    name = "vit_layers" if a.has("vit_layers") else "vision_feature_layer"
    layers = a.items(name) or [24, 18]
    if not all(isinstance(layer, int) and -depth <= layer < depth for layer in layers):
        raise a.wrong(name, f"is {layers}, but there are {depth} layers")
    return [layer % depth for layer in layers]


def molmo2(f: Fields) -> Architecture:
    """Molmo 2: a ViT on crops that overlap and on the whole; the mean of a square of patches attends to the square.

    An image's patches are those of its canvas, where each is seen once. All images' tokens of a prompt see each other.
    """
    text = read_text(f, "molmo2_text")
    legacy = "vit_config" in f.data and not f.has("vision_config")
    v = f.part("vit_config" if legacy else "vision_config", "molmo2_vision")
    a = f.part("adapter_config", "molmo2_adapter")
    # Published configs have names of their own for some fields.
    depth = v.integer("num_hidden_layers")
    layers = _feature_layers(a, depth)
    if legacy:
        # The published config has layers that its weights and transformers have not.
        depth = max(layers) + 1
    v = v.replaced(
        num_hidden_layers=depth,
        image_size=v.get("image_default_input_size", "image_size", default=[378, 378]),
        patch_size=v.integer("image_patch_size" if v.has("image_patch_size") else "patch_size", default=14),
    )
    side, patch = grid(v)
    if side <= MOLMO_MARGIN:
        raise v.wrong("image_size", f"is {side} patches, of which crops share {MOLMO_MARGIN}")
    head_dim, bias = v.integer("head_dim"), v.flag("attention_bias", default=True)
    spec = attrs.evolve(vision_encoder(v), head_dim=head_dim, qkv_bias=bias, o_bias=bias)
    spec = attrs.evolve(spec, kv_heads=v.integer("num_key_value_heads", default=spec.heads))
    width, places = spec.width, v.get("image_num_pos", "num_position_embeddings")
    positions = side * side if places is None else v.checked("num_position_embeddings", places)

    def on_crops(*blocks: Block) -> _OnCrops:
        return _OnCrops(blocks=blocks, side=side)

    before = on_crops(
        patch_embedding(width, patch, v.integer("num_channels", default=3), bias=True, extra=0),
        Constant("embed_positions", positions * width),
    )
    inner = a.integer("hidden_size")
    heads, dim = a.integer("num_attention_heads"), a.integer("head_dim")
    kv, biased, inputs = (
        a.integer("num_key_value_heads") * dim,
        a.flag("attention_bias", default=True),
        inner * len(layers),
    )
    hidden, out = a.integer("intermediate_size"), a.integer("text_hidden_size", default=text_width(text))
    gate = 2 * hidden if a.flag("mlp_bias") else 0
    queries = (Linear("merger_q", heads * dim, inputs, heads * dim * biased, role=VISION),)
    keys = (
        Linear("merger_kv", 2 * kv, inputs, 2 * kv * biased, role=VISION),
        _OneQueryEach(heads * dim),
    )
    projector = (
        Linear("merger_o", inner, heads * dim, inner * biased, role=VISION),
        Linear("projector_gate_up", 2 * hidden, inner, gate, role=VISION),
        Linear("projector_down", out, hidden, role=VISION),
    )
    after = (
        _Squares(blocks=queries, side=side),
        _Pooled(blocks=keys, side=side),
        _Squares(blocks=projector, side=side),
    )
    groups = tuple(attrs.evolve(group, blocks=(on_crops(*group.blocks),)) for group in spec.layers("vision.layers"))
    model = joined(f, text, Tower(Stack(VISION, groups, (before,), after), width, None))
    return attrs.evolve(model, sees_all_images=model.vision is not None)


PAGE_TILES: dict[str, Builder] = {"granite_docling": Verified(granite_docling), "molmo2": Verified(molmo2)}
