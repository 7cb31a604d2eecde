"""What an analysis is told beside the trace."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import attrs

from nsys_pipeline.errors import UsageError
from nsys_pipeline.model import Conventions
from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS, Step

if TYPE_CHECKING:
    from nsys_pipeline.model import Model


def _at_most(limit: int) -> Callable[[RequestShape, attrs.Attribute[Any], int | None], None]:
    def check(shape: RequestShape, attribute: attrs.Attribute[Any], value: int | None) -> None:
        del shape
        if value is not None and value > limit:
            name = attribute.name.replace("_", " ")
            raise UsageError(
                f"a shape with {name} {value:,} is past what llmperf estimates: at most {limit:,}",
                hint="write BATCHxPROMPT+NEW, as in 8x512+32",
            )

    return check


@attrs.frozen
class RequestShape:
    """A kind of request: `batch` sequences of `prompt_tokens`, then `new_tokens` decode steps (None: any number)."""

    batch: int = attrs.field(validator=_at_most(MAX_BATCH))
    prompt_tokens: int = attrs.field(validator=_at_most(MAX_TOKENS))
    new_tokens: int | None = attrs.field(default=None, validator=_at_most(MAX_TOKENS))

    @classmethod
    def parse(cls, text: str) -> RequestShape:
        """Read `BATCHxPROMPT+NEW` or `BATCHxPROMPT`. Raises UsageError for anything else, zeros and absurd sizes."""
        match = re.fullmatch(r"(\d{1,18})x(\d{1,18})(?:\+(\d{1,18}))?", text.strip())
        if match is None or 0 in (int(match[1]), int(match[2])):
            raise UsageError(f"`{text}` is no shape", hint="write BATCHxPROMPT+NEW, as in 8x512+32")
        return cls(int(match[1]), int(match[2]), int(match[3]) if match[3] else None)

    def __str__(self) -> str:
        return f"{self.batch}x{self.prompt_tokens}" + (f"+{self.new_tokens}" if self.new_tokens is not None else "")

    def steps(self, decode_count: int, *, is_read_by_encoder: bool = False) -> list[Step]:
        """The prefill step and `decode_count` decode steps; the prefill makes the first new token.

        `is_read_by_encoder`: the prompt is the encoder's, and the decoder begins with one token.
        """
        if is_read_by_encoder:
            first, *later = attrs.evolve(self, prompt_tokens=1).steps(decode_count)
            return [attrs.evolve(first, encoder_tokens=(self.prompt_tokens,) * self.batch), *later]
        prefill = Step.uniform(batch=self.batch, q_tokens=self.prompt_tokens)
        return [
            prefill,
            *(
                Step.uniform(batch=self.batch, q_tokens=1, kv_tokens=self.prompt_tokens + index)
                for index in range(decode_count)
            ),
        ]


@attrs.frozen
class ImageOptions:
    """Images of each request as they are typed: their number (None: as many as have sizes), and sizes of one each."""

    count: int | None = None
    patches: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()

    @property
    def are_told(self) -> bool:
        """Whether somebody says that requests have images."""
        return bool(self.count or self.patches or self.sizes)

    def grids(self, model: Model | None) -> tuple[tuple[int, int], ...]:
        """(height, width) in patches of each view. Raises UsageError as `model.images.read_images` does."""
        from nsys_pipeline.model.images import read_images

        return read_images(model, count=self.count, patches=self.patches, sizes=self.sizes)


@attrs.frozen
class GoodputLimits:
    """Within what a request is a good one: time to first token, time per output token, all of its time. Unit: ns."""

    ttft_ns: float | None = None
    tpot_ns: float | None = None
    e2el_ns: float | None = None

    @classmethod
    def parse(cls, text: str) -> GoodputLimits:
        """Read `ttft:500,tpot:50` as benchmarks of servers have it: in ms, or with a unit (us, ms, s).

        Raises UsageError for another name, one that comes twice, and what is no positive number.
        """
        found: dict[str, float] = {}
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is no limit for goodput", hint="write it as text, as in 'ttft:500,tpot:50'")
        for part in re.split(r"[,\s]+", text.strip()):
            match = re.fullmatch(r"(ttft|tpot|e2el):(\d{1,12}(?:\.\d{1,9})?)(us|ms|s)?", part)
            if match is None or match[1] in found or not float(match[2]):
                raise UsageError(
                    f"`{text}` is no limit for goodput"
                    if part == text.strip()
                    else f"`{part}` is no limit for goodput",
                    hint="write ttft:500,tpot:50 or e2el:2s, each once: numbers without a unit are ms",
                )
            found[match[1]] = float(match[2]) * {"us": 1e3, "s": 1e9}.get(match[3], 1e6)
        return cls(**{f"{name}_ns": limit for name, limit in found.items()})


@attrs.frozen(kw_only=True)
class AnalysisOptions:
    """What the analysis is told beside the trace. `model` wins over the model that the trace describes.

    `images`, `audio_seconds`: those of each request, where no mark says which it has. `keep_cold`: cold occurrences
    count like any other. `is_degree_told`: somebody says how many GPUs share a pass, if only that it is one.
    `max_context`: tokens of the longest sequence that an engine takes; default what the model allows. `train_only`,
    `lora_rank`: which weights training updates, see `model.training`. `dp`: data-parallel ranks, each with a batch of
    its own. `cp`: ranks that each sequence is split over. `goodput`: limits of the requests of an engine.
    """

    model: Model | None = None
    shapes: tuple[RequestShape, ...] = ()
    images: ImageOptions = attrs.field(factory=ImageOptions)
    audio_seconds: str | None = None
    conventions: Conventions = attrs.field(factory=Conventions)
    is_degree_told: bool = False
    peaks: Mapping[str, float] = attrs.field(factory=dict)
    bandwidth_bytes_per_s: float | None = None
    max_context: int | None = None
    train_only: str | None = None
    lora_rank: int | None = None
    dp: int | None = None
    cp: int | None = None
    top_kernels: int = 5
    keep_cold: bool = False
    goodput: GoodputLimits | None = None

    @classmethod
    def told(
        cls,
        *,
        dtype: str | None,
        weight_dtype: str | None,
        kv_dtype: str | None,
        tp: int | None,
        pp: int | None,
        ep: int | None,
        dp: int | None,
        cp: int | None,
        **others: Any,
    ) -> Self:
        """The options of somebody who may leave out formats and degrees; `others` are fields as they are."""
        return cls(
            conventions=Conventions(
                dtype=dtype,
                weight=weight_dtype,
                kv_dtype=kv_dtype,
                tp=tp or 1,
                pp=pp or 1,
                ep=ep or 1,
                cp=cp or 1,
            ),
            is_degree_told=any(degree is not None for degree in (tp, pp, ep, dp)),
            dp=dp,
            cp=cp,
            **others,
        )

    @property
    def is_training_told(self) -> bool:
        """Whether somebody says which weights training updates."""
        return self.train_only is not None or self.lora_rank is not None
