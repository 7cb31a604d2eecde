"""FLOPs and bytes of forward passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Block
from nsys_pipeline.model.conventions import Conventions
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.model import Model
from nsys_pipeline.model.modules import Place
from nsys_pipeline.model.ops import PRODUCTS, Op
from nsys_pipeline.model.quantization import TOWERS, Format, Quantization, named_format, plain
from nsys_pipeline.records import Step


class Roofline(Protocol):
    """What the estimate needs to know about a GPU."""

    @property
    def peaks_flops_per_s(self) -> Mapping[str, float]: ...

    @property
    def bandwidth_bytes_per_s(self) -> float | None: ...


@attrs.frozen
class Totals:
    """Sums of one pass, under one set of conventions. Bytes are minimum bytes: weights + KV read + KV written.

    `product_flops`: of the FLOPs, those of products with weights; the others are attention's, or a recurrence's.
    """

    flops_by_dtype: Mapping[str, int]
    product_flops: int
    weight_bytes: int
    kv_read_bytes: int
    kv_write_bytes: int
    sol_ns: float | None = None

    @property
    def flops(self) -> int:
        return sum(self.flops_by_dtype.values())

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes


@attrs.define(slots=False)
class Estimate:
    """Ops of one forward pass and their sums, over all sequences and all GPUs that hold one copy of the model.

    `gpu_flops` and `gpu_bytes` are the share of one GPU, times are those of the whole pass.
    """

    ops: tuple[Op, ...]
    conventions: Conventions
    label: str
    gpus: int = 1

    def op_flops(self, op: Op) -> int:
        """FLOPs of one layer's op under the estimate's `count`."""
        return op.flops_model if self.conventions.count == "model" else op.flops_executed

    @property
    def flops(self) -> int:
        return sum(op.layers * self.op_flops(op) for op in self.ops)

    @property
    def flops_by_dtype(self) -> dict[str, int]:
        """FLOPs per dtype that the products run in; only dtypes with any."""
        result: dict[str, int] = {}
        for op in self.ops:
            flops = op.layers * self.op_flops(op)
            if flops:
                result[op.dtype] = result.get(op.dtype, 0) + flops
        return result

    @property
    def product_flops(self) -> int:
        """FLOPs of products of activations and weights; the rest are attention's, or a recurrence's."""
        return sum(op.layers * self.op_flops(op) for op in self.ops if op.kind in PRODUCTS)

    @property
    def bytes(self) -> int:
        """Minimum bytes: weights touched + KV read + KV written."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes

    @property
    def weight_bytes(self) -> int:
        return sum(op.layers * op.weight_bytes for op in self.ops)

    @property
    def kv_read_bytes(self) -> int:
        return sum(op.layers * op.kv_read_bytes for op in self.ops)

    @property
    def kv_write_bytes(self) -> int:
        return sum(op.layers * op.kv_write_bytes for op in self.ops)

    @property
    def activation_bytes(self) -> int:
        """Inputs and outputs of all ops if none were fused; not part of `bytes`."""
        return sum(op.layers * op.activation_bytes for op in self.ops)

    @property
    def comm_bytes(self) -> int:
        """Bytes sent between GPUs, summed over the senders; not part of `bytes`."""
        return sum(op.layers * op.comm_bytes for op in self.ops)

    @property
    def gpu_flops(self) -> float:
        """FLOPs of one GPU: each op's, split as its kind is; the average over the pipeline stages."""
        return self._per_gpu((op, self.op_flops(op)) for op in self.ops)

    @property
    def gpu_bytes(self) -> float:
        """Minimum bytes of one GPU; the average over the pipeline stages."""
        return self._per_gpu((op, op.bytes) for op in self.ops)

    def _per_gpu(self, amounts: Iterable[tuple[Op, int]]) -> float:
        by_split: dict[int, int] = {}
        for op, amount in amounts:
            split = self.conventions.split(op.kind)
            by_split[split] = by_split.get(split, 0) + op.layers * amount
        return sum(amount / split for split, amount in by_split.items()) / self.conventions.pp

    def missing_peaks(self, gpu: Roofline) -> tuple[str, ...]:
        """What `sol_ns` needs and the GPU does not say: dtypes without a peak, and ``bandwidth``."""
        missing = [dtype for dtype in self.flops_by_dtype if not gpu.peaks_flops_per_s.get(dtype)]
        if self.bytes and not gpu.bandwidth_bytes_per_s:
            missing.append("bandwidth")
        return tuple(missing)

    def op_sol_ns(self, op: Op, gpu: Roofline) -> float | None:
        """Speed-of-light time of one layer's op of one GPU's share, in ns: max(FLOPs / peak, bytes / bandwidth).

        A layer is on one pipeline stage, so that `pp` does not make it faster. None where the GPU's peak for the op's
        dtype or its bandwidth is unknown but needed.
        """
        return _op_sol_ns(self.op_flops(op), op.bytes, op.dtype, gpu, self.conventions.split(op.kind))

    def sol_ns(self, gpu: Roofline) -> float | None:
        """Speed-of-light time of one pass in ns: the sum over its ops, or None where one of them is unknown.

        A pass crosses the pipeline stages in turn, so that it takes the sum of their times.
        """
        return _sum_known(_times(op.layers, self.op_sol_ns(op, gpu)) for op in self.ops)

    @property
    def totals(self) -> Totals:
        return Totals(
            self.flops_by_dtype, self.product_flops, self.weight_bytes, self.kv_read_bytes, self.kv_write_bytes
        )


def _times(layers: int, value: float | None) -> float | None:
    return None if value is None else layers * value


def _sum_known(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _op_sol_ns(flops: int, moved: int, dtype: str, gpu: Roofline, split: int) -> float | None:
    compute = memory = 0.0
    if flops:
        peak = gpu.peaks_flops_per_s.get(dtype)
        if not peak:
            return None
        compute = flops / peak
    if moved:
        if not gpu.bandwidth_bytes_per_s:
            return None
        memory = moved / gpu.bandwidth_bytes_per_s
    return max(compute, memory) * 1e9 / split


class Estimator:
    """Estimates many steps of one model; parts that depend on the number of tokens alone are computed once.

    Raises ModelError where the model cannot be split as the conventions' parallel degrees ask.
    """

    def __init__(self, model: Model, conventions: Conventions | None = None) -> None:
        self.model = model
        self.conventions = conventions or Conventions()
        self._architecture = model.architecture
        _check_parallel(self._architecture, self.conventions)
        self._dtype = self.conventions.dtype or model.dtype
        self._quantization = self._weights()
        self.kv_dtype = self.conventions.kv_dtype or self._cache_dtype() or self._dtype
        self._parts: dict[str, list[tuple[str, tuple[int, ...], tuple[Block, ...]]]] = {}
        self._token_ops: dict[tuple[object, ...], list[list[Op]]] = {}
        self._token_totals: dict[tuple[object, ...], Totals] = {}

    def _weights(self) -> Quantization:
        if self.conventions.weight is None:
            return self.model.quantization
        return Quantization.everywhere(named_format(self.conventions.weight))

    def _cache_dtype(self) -> str | None:
        """The dtype of the KV cache that the checkpoint states, if its quantization can be read at all."""
        try:
            return self.model.quantization.kv_dtype
        except ModelError:
            return None

    def formats(self) -> dict[str, tuple[Format, ...]]:
        """Formats of weights by role, the most frequent one first; only roles of which some weights are quantized."""
        counts: dict[str, Counter[Format]] = {}
        for stack in self._architecture.stacks:
            for _, ids, blocks in self._split(stack):
                place = Place(stack.name, ids[0] if ids else None)
                for role, op in self._weights_of(stack, ids, blocks):
                    for fmt in self._quantization.formats(role, op, place):
                        counts.setdefault(role, Counter())[fmt or plain(self._dtype)] += max(1, len(ids))
        unquantized = {plain(self._dtype)}
        return {
            role: tuple(fmt for fmt, _ in found.most_common())
            for role, found in counts.items()
            if not found.keys() <= unquantized
        }

    def _split(self, stack: Stack) -> list[tuple[str, tuple[int, ...], tuple[Block, ...]]]:
        """The parts of a stack, with layers that are stored in different formats apart."""
        if stack.name not in self._parts:
            self._parts[stack.name] = [group for part in stack.parts() for group in self._grouped(stack, *part)]
        return self._parts[stack.name]

    def _grouped(
        self, stack: Stack, label: str, ids: tuple[int, ...], blocks: tuple[Block, ...]
    ) -> list[tuple[str, tuple[int, ...], tuple[Block, ...]]]:
        if len(ids) < 2 or not self._quantization.differs_by_layer:
            return [(label, ids, blocks)]
        weights = sorted(self._weights_of(stack, ids, blocks))
        groups: dict[tuple[object, ...], list[int]] = {}
        for layer in ids:
            place = Place(stack.name, layer)
            stored = tuple(self._quantization.formats(role, op, place) for role, op in weights)
            groups.setdefault(stored, []).append(layer)
        if len(groups) == 1:
            return [(label, ids, blocks)]
        return [(f"{label}@{_ranges(layers)}", tuple(layers), blocks) for layers in groups.values()]

    def _weights_of(self, stack: Stack, ids: tuple[int, ...], blocks: tuple[Block, ...]) -> set[tuple[str, str]]:
        """(role, op) of the weights that these blocks have, from a pass of one token."""
        emit = self.emitter()
        emit.enter("", ids[:1], stack.name)
        run = Pass(attrs.evolve(Step.uniform(batch=1, q_tokens=1, kv_tokens=1), prompts=(1,)), 1, (1,))
        for block in blocks:
            block.token_ops(emit, run)
            block.context_ops(emit, run)
        return emit.used

    def estimate(
        self, step: Step, *, encoder_tokens: Sequence[int] | None = None, vision_tokens: Sequence[int] = ()
    ) -> Estimate:
        """Ops of one pass.

        `encoder_tokens`: for an encoder-decoder, the encoder positions of each sequence (default: the model's own,
        where it has a fixed number); a step without cached tokens also runs the encoder. `vision_tokens`: tokens of
        each image that goes through the vision tower in this pass (default: those of the step's images).
        """
        ops: list[Op] = []
        for stack, run in self.passes(step, encoder_tokens, vision_tokens):
            context = self._context(stack, run)
            for part, more in zip(self._tokens(stack, run), context, strict=True):
                ops += part
                ops += more
        ops += self._pipeline_ops(step)
        return Estimate(tuple(ops), self.conventions, self.model.label, self.conventions.gpus)

    def totals(
        self,
        steps: Iterable[Step],
        gpu: Roofline | None = None,
        *,
        encoder_tokens: Sequence[int] | None = None,
    ) -> list[Totals]:
        """Sums of each pass, in order, without building its full list of ops; `gpu` adds the SOL time."""
        return [self._total(step, gpu, encoder_tokens) for step in steps]

    def _total(self, step: Step, gpu: Roofline | None, encoder_tokens: Sequence[int] | None) -> Totals:
        parts: list[Totals] = []
        for stack, run in self.passes(step, encoder_tokens, ()):
            key = (stack.name, _shape_key(stack, run), id(gpu))
            fixed = self._token_totals.get(key)
            if fixed is None:
                fixed = self._sum([op for part in self._tokens(stack, run) for op in part], gpu)
                self._token_totals[key] = fixed
            parts += [fixed, self._sum([op for part in self._context(stack, run) for op in part], gpu)]
        flops: dict[str, int] = {}
        for part in parts:
            for dtype, count in part.flops_by_dtype.items():
                flops[dtype] = flops.get(dtype, 0) + count
        return Totals(
            flops,
            sum(part.product_flops for part in parts),
            sum(part.weight_bytes for part in parts),
            sum(part.kv_read_bytes for part in parts),
            sum(part.kv_write_bytes for part in parts),
            None if gpu is None else _sum_known(part.sol_ns for part in parts),
        )

    def _sum(self, ops: list[Op], gpu: Roofline | None) -> Totals:
        estimate = Estimate(tuple(ops), self.conventions, self.model.label, self.conventions.gpus)
        totals = estimate.totals
        return totals if gpu is None else attrs.evolve(totals, sol_ns=estimate.sol_ns(gpu))

    def passes(
        self, step: Step, encoder_tokens: Sequence[int] | None = None, vision_tokens: Sequence[int] = ()
    ) -> list[tuple[Stack, Pass]]:
        """The stacks that a step runs, each with its share of it, in order."""
        architecture, passes = self._architecture, []
        if encoder_tokens is None and not all(step.q_tokens) and not step.images:
            step = _without_idle(step)
        grids = () if vision_tokens else step.images
        vision_tokens = vision_tokens or architecture.vision_lengths(grids)
        if architecture.vision and vision_tokens:
            passes.append((architecture.vision, _encoding(vision_tokens, grids, prompts=max(1, step.batch))))
        if architecture.audio and step.audio:
            heard = [length for frames in step.audio for length in architecture.audio.lengths(frames)]
            passes.append((architecture.audio.stack, _encoding(heard)))
        logits = {None: step.logits, "last": step.batch, "all": step.new_tokens}[self.conventions.logits]
        if architecture.decoder is None:
            if architecture.encoder:
                passes.append((architecture.encoder, Pass(step, logits)))
            return passes
        lengths: tuple[int, ...] = ()
        first = not any(step.kv_tokens)
        # A pass of the tower alone has no sequences.
        if architecture.encoder and step.batch:
            if step.is_encoder:
                encoder_tokens = step.q_tokens
            lengths = self._encoder_lengths(step, encoder_tokens)
            if first and not step.seen_encoder_tokens:
                passes.append((architecture.encoder, _encoding(lengths)))
            if step.is_encoder:
                return passes
        if architecture.cross_attends_to_images:
            lengths = self._looked_at(step)
            first = first or bool(step.images)
        images: tuple[int, ...] = ()
        if architecture.tells_images_apart:
            images = self._whole_images(vision_tokens, grids, step)
        passes.append((architecture.decoder, Pass(step, logits, lengths, first, images)))
        return passes

    def _whole_images(
        self, vision_tokens: Sequence[int], grids: Sequence[tuple[int, int]], step: Step
    ) -> tuple[int, ...]:
        """Tokens of each image in the decoder; none is split between passes, so that the last may not fit in this."""
        images: list[int] = []
        sides: Sequence[tuple[int, int] | None] = grids or [None] * len(vision_tokens)
        for tokens in map(self._architecture.in_block, vision_tokens, sides):
            if sum(images) + tokens <= step.new_tokens:
                images.append(tokens)
        return self._for_each_sequence(images, step) if self._architecture.sees_all_images else tuple(images)

    @staticmethod
    def _for_each_sequence(tokens: Sequence[int], step: Step) -> tuple[int, ...]:
        """Sums of tokens of images that each sequence has: as many images each, in order."""
        if not tokens or not step.batch:
            return ()
        if len(tokens) % step.batch:
            raise ModelError(f"{len(tokens)} images do not divide among {step.batch} sequences that look at them")
        each = len(tokens) // step.batch
        return tuple(sum(tokens[start : start + each]) for start in range(0, len(tokens), each))

    def _looked_at(self, step: Step) -> tuple[int, ...]:
        """Tokens of images that each sequence looks at: sequences have as many images each, in order."""
        lengths = self._architecture.vision_lengths((*step.seen_images, *step.images))
        if self._architecture.appends_images and step.batch and len(lengths) not in (0, step.batch):
            raise ModelError(
                f"`{self.model.name}` takes one image for each sequence or none, and {len(lengths)} are known for"
                f" {step.batch}",
                hint="say how many there are with --images",
            )
        if self._architecture.needs_image and step.batch and len(lengths) != step.batch:
            raise ModelError(
                f"`{self.model.name}` takes one image for each sequence, and {len(lengths)} are known for {step.batch}",
                hint="say how large each is with --image-size HxW or --image-patches HxW, and how many with --images",
            )
        return self._for_each_sequence([self._architecture.projected(length) for length in lengths], step)

    def _encoder_lengths(self, step: Step, encoder_tokens: Sequence[int] | None) -> tuple[int, ...]:
        encoder_tokens = encoder_tokens or step.encoder_tokens or step.seen_encoder_tokens or None
        if encoder_tokens is None:
            fixed = self._architecture.encoder_tokens
            if fixed is None:
                raise ModelError(
                    f"`{self.model.name}` is an encoder-decoder model and the number of encoder tokens is not known",
                    hint="say how many tokens each sequence's encoder input has",
                )
            return (fixed,) * step.batch
        lengths = tuple(encoder_tokens)
        if len(lengths) != step.batch:
            raise ModelError(f"{step.batch} sequences but {len(lengths)} encoder lengths")
        if self._architecture.appends_images and (seen := self._looked_at(step)):
            return tuple(map(sum, zip(lengths, seen, strict=True)))
        return lengths

    def emitter(self) -> Emitter:
        """An emitter with the number formats and conventions of the estimate."""
        return Emitter(
            self.conventions,
            self._dtype,
            self.kv_dtype,
            self._quantization,
            state_dtype=self.model.state_dtype,
            tp=self.conventions.tp,
        )

    def _tokens(self, stack: Stack, run: Pass) -> list[list[Op]]:
        key = (stack.name, _shape_key(stack, run))
        ops = self._token_ops.get(key)
        if ops is None:
            ops = self._emit(stack, run, is_of_tokens=True)
            self._token_ops[key] = ops
        return ops

    def _context(self, stack: Stack, run: Pass) -> list[list[Op]]:
        return self._emit(stack, run, is_of_tokens=False)

    def _emit(self, stack: Stack, run: Pass, *, is_of_tokens: bool) -> list[list[Op]]:
        parts = []
        for label, ids, blocks in self._split(stack):
            emit = self.emitter()
            emit.enter(label, ids, stack.name)
            for block in blocks:
                block.token_ops(emit, run) if is_of_tokens else emit.context_of(block, run)
            parts.append(emit.ops)
        return parts

    def _pipeline_ops(self, step: Step) -> list[Op]:
        if self.conventions.pp == 1:
            return []
        emit = self.emitter()
        emit.enter("pipeline")
        width = next(
            (block.width for stack in self._architecture.stacks for block in stack.after if hasattr(block, "width")), 0
        )
        sent = (self.conventions.pp - 1) * emit.plain_bytes(step.new_tokens * width)
        emit.add("communication", "pipeline_send", comm=sent)
        return emit.ops


def _ranges(layers: Sequence[int]) -> str:
    """Numbers of layers, `0,2-5,7`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _encoding(lengths: Sequence[int], grids: tuple[tuple[int, int], ...] = (), *, prompts: int = 1) -> Pass:
    """A pass of an encoder over sequences of these lengths: nothing is cached, and there are no logits."""
    return Pass(Step.ragged(lengths, [0] * len(lengths), 0), 0, grids=grids, prompts=prompts)


def _without_idle(step: Step) -> Step:
    """`step` without its sequences that have no new tokens: nothing is computed for them, and nothing read."""
    works = [bool(new) for new in step.q_tokens]
    alike = ("q_tokens", "kv_tokens", "prompts", "encoder_tokens", "seen_encoder_tokens", "seen_images")
    kept: dict[str, Any] = {}
    for name in alike:
        values = getattr(step, name)
        each = len(values) // step.batch
        kept[name] = [value for at, value in enumerate(values) if each * step.batch != len(values) or works[at // each]]
    return attrs.evolve(step, **kept, padded=None)


def _shape_key(stack: Stack, run: Pass) -> tuple[object, ...]:
    # Towers round the tokens of each image, or clip, alone, and some its sides.
    tokens = run.step.q_tokens if stack.name in TOWERS else run.tokens
    shape = (tokens, run.step.batch, run.step.experts, run.logits, run.grids, run.prompts)
    return (*shape, run.encoder_tokens, run.first, run.images)


def _check_parallel(architecture: Architecture, conventions: Conventions) -> None:
    tp, ep = conventions.tp, conventions.ep
    if ep > 1 and max(tp, ep) % min(tp, ep):
        raise ModelError(
            f"{ep} expert-parallel GPUs and {tp} tensor-parallel ones cannot be the same GPUs",
            hint="one of the two degrees must divide the other",
        )
    heads = architecture.heads
    if heads and heads % conventions.tp:
        raise ModelError(f"{heads} attention heads do not divide among {conventions.tp} tensor-parallel GPUs")
    depth = architecture.decoder.depth if architecture.decoder else 0
    for block in architecture.experts():
        if block.experts % conventions.ep:
            raise ModelError(f"{block.experts} experts do not divide among {conventions.ep} expert-parallel GPUs")
    if depth and conventions.pp > depth:
        raise ModelError(f"{depth} layers cannot be split into {conventions.pp} pipeline stages")


def estimate(
    model: Model,
    step: Step,
    conventions: Conventions | None = None,
    *,
    encoder_tokens: Sequence[int] | None = None,
    vision_tokens: Sequence[int] = (),
) -> Estimate:
    """FLOPs and bytes of one forward pass; see `Estimator.estimate`."""
    return Estimator(model, conventions).estimate(step, encoder_tokens=encoder_tokens, vision_tokens=vision_tokens)


def estimate_totals(
    model: Model, steps: Iterable[Step], conventions: Conventions | None = None, *, gpu: Roofline | None = None
) -> list[Totals]:
    """Sums of many passes, in order: about 30 µs for each decode step that has its own context."""
    return Estimator(model, conventions).totals(steps, gpu)
