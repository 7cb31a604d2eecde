"""The normalized form of a model: stacks of identical layers, each a sequence of blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs

from nsys_pipeline.model.blocks import Around, Block, Constant, Embedding, Moe, OnSides, OnTokens


@attrs.frozen
class Layers:
    """Identical layers: what they are called, which ones they are, and their blocks."""

    label: str
    ids: tuple[int, ...]
    blocks: tuple[Block, ...]


@attrs.frozen
class Stack:
    """Layers that tokens run through one after the other. `before` and `after` run once per pass."""

    name: str
    layers: tuple[Layers, ...]
    before: tuple[Block, ...] = ()
    after: tuple[Block, ...] = ()

    def parts(self) -> Iterator[tuple[str, tuple[int, ...], tuple[Block, ...]]]:
        """(layer label, layer ids, blocks) in order of execution."""
        yield self.name + ".before", (), self.before
        for group in self.layers:
            yield group.label, group.ids, group.blocks
        yield self.name + ".after", (), self.after

    @property
    def params(self) -> int:
        return self._sum("params")

    @property
    def idle_params(self) -> int:
        return self._sum("idle_params")

    @property
    def depth(self) -> int:
        return sum(len(group.ids) for group in self.layers)

    @property
    def is_tied(self) -> bool:
        """The head multiplies by the table of embeddings."""
        return any(isinstance(block, Embedding) and block.tied for block in self.before)

    def _sum(self, attribute: str) -> int:
        return sum(
            max(1, len(ids)) * sum(getattr(block, attribute) for block in blocks) for _, ids, blocks in self.parts()
        )


@attrs.frozen(kw_only=True)
class AudioEncoder:
    """An encoder of sound and its projector. Their stack runs over `lengths` of a clip, in frames or in positions.

    `frames_per_s`: frames that a second of sound is. `longest`: frames of the longest clip that is taken.
    """

    stack: Stack
    frames_per_s: int = 100
    longest: int | None = None

    def frames(self, seconds: float) -> int:
        """Frames of a clip of so many seconds, at least 1."""
        return max(1, round(seconds * self.frames_per_s))

    def lengths(self, frames: int) -> tuple[int, ...]:
        """Tokens of each sequence of the stack that a clip of so many frames becomes."""
        return (frames,)

    def tokens(self, frames: int) -> int:
        """Tokens of the prompt that a clip of so many frames becomes."""
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Architecture:
    """A model. `decoder` holds the KV cache; `encoder` runs once per request over `encoder_tokens` positions.

    An encoder-only model has no decoder. `encoder_grid`: patches, (height, width), of the images that an encoder of
    images has these positions of. `vision` runs over the patches of each image and `vision_extra` tokens that
    are none, `vision_tokens` together where their number is fixed; nothing comes of its layers behind the first
    `vision_depth`. `audio` runs over clips of sound.
    `sees_whole_images`: tokens of the decoder that an image turns into see each other in both directions.
    `window_keeps_prompt`: a decode step costs something else for tokens of the prompt than for later ones.
    `sees_all_images`: so do those of all images of a sequence, with what separates them.
    `has_experts_for_images`: they have experts of their own. `cross_attends_to_images`: images are no tokens of the
    decoder, which has layers that look at them; `needs_image`: each sequence has exactly one. `appends_images`: their
    tokens go to the encoder beside those of the prompt. `unused_params` are stored but not touched by any pass that is
    estimated. `text_only`: a multimodal model of which only the text decoder is described; `why`, if there is more to
    say. `uncounted`: parts beside decoder and tower that are not described. `unread`: fields of the config that would
    change what another model computes, and that none of this one read. `variant`: how the config makes it another model
    than the one its type is known for; empty if not. `caveat`: what sizes do not say, and how it is counted.
    """

    family: str
    decoder: Stack | None = None
    encoder: Stack | None = None
    vision: Stack | None = None
    audio: AudioEncoder | None = None
    encoder_tokens: int | None = None
    encoder_grid: tuple[int, int] | None = None
    vision_tokens: int | None = None
    vision_extra: int = 0
    vision_depth: int | None = None
    sees_whole_images: bool = False
    sees_all_images: bool = False
    window_keeps_prompt: bool = False
    has_experts_for_images: bool = False
    cross_attends_to_images: bool = False
    needs_image: bool = False
    appends_images: bool = False
    kv_heads: int = 0
    heads: int = 0
    unused_params: int = 0
    text_only: bool = False
    uncounted: tuple[str, ...] = ()
    why: str = ""
    unread: tuple[str, ...] = ()
    variant: str = ""
    caveat: str = ""

    @property
    def tells_images_apart(self) -> bool:
        """Whether a pass of the decoder costs something else for tokens of images than for text."""
        return self.sees_whole_images or self.sees_all_images or self.has_experts_for_images

    @property
    def has_two_stacks(self) -> bool:
        """Whether it is an encoder and a decoder that looks at what this has read."""
        return self.encoder is not None and self.decoder is not None

    @property
    def reads_prompt_in_encoder(self) -> bool:
        """Whether a prompt is what an encoder of text reads, of which a decoder writes."""
        return self.has_two_stacks and self.encoder_tokens is None

    @property
    def stacks(self) -> tuple[Stack, ...]:
        heard = self.audio.stack if self.audio else None
        return tuple(stack for stack in (self.vision, heard, self.encoder, self.decoder) if stack)

    def vision_lengths(self, images: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Tokens in the vision tower of images of (height, width) patches; none without a tower."""
        return tuple(height * width + self.vision_extra for height, width in images) if self.vision else ()

    @property
    def merged_side(self) -> int:
        """Patches that a side of an image is a multiple of: a tower of any size merges squares of them, and no parts.

        1 if it merges none, or says by the sides what becomes of the rest.
        """
        after = self.vision.after if self.vision and self.vision_tokens is None else ()
        merges = [block.over for block in after if type(block) is OnTokens and block.times == 1 and block.fixed is None]
        return math.lcm(*(side for side in map(math.isqrt, merges) if side * side in merges))

    def is_whole(self, image: tuple[int, int]) -> bool:
        """Whether the tower can run on an image of (height, width) patches: each merged patch is whole."""
        return not any(side % self.merged_side for side in image)

    @property
    def counts_by_sides(self) -> bool:
        """Whether an image of as many patches on other sides costs something else, or cannot be."""
        after = self.vision.after if self.vision else ()
        return self.merged_side > 1 or any(isinstance(block, OnSides) for block in after)

    def projected(self, tokens: int, sides: tuple[int, int] | None = None) -> int:
        """Tokens of the decoder that `tokens` of one image in the tower, of `sides` in patches, turn into."""
        last = self._last_of_tower
        if last is None:
            return tokens
        return last.length(tokens) if sides is None else last.of_image(tokens, sides)

    def in_block(self, tokens: int, sides: tuple[int, int] | None = None) -> int:
        """`projected`, with the tokens around and between them that see each other in both directions as they do."""
        last = self._last_of_tower
        return self.projected(tokens, sides) if last is None or sides is None else last.in_block(tokens, sides)

    @property
    def _last_of_tower(self) -> OnTokens | None:
        """What says how many tokens of the decoder an image turns into; None if as many as in the tower."""
        after = self.vision.after if self.vision else ()
        last = next((block for block in reversed(after) if not isinstance(block, Constant)), None)
        return last if isinstance(last, OnTokens) else None

    def blocks(self) -> Iterator[Block]:
        """Every block, once for each kind of layer that has it."""
        for stack in self.stacks:
            for _, _, blocks in stack.parts():
                for block in blocks:
                    yield from block.blocks if isinstance(block, Around) else (block,)

    def experts(self) -> Iterator[Moe]:
        """The blocks of experts, one for each kind of layer that has them."""
        return (block for block in self.blocks() if isinstance(block, Moe))


def group_layers(prefix: str, described: Sequence[tuple[str, tuple[Block, ...]]]) -> tuple[Layers, ...]:
    """Fold a list of layers in order, each (label, blocks), into groups of identical ones, in order of appearance."""
    groups: dict[tuple[str, tuple[Block, ...]], list[int]] = {}
    for index, layer in enumerate(described):
        groups.setdefault(layer, []).append(index)
    return tuple(
        Layers(f"{prefix}.{label}" if label else prefix, tuple(ids), blocks) for (label, blocks), ids in groups.items()
    )
