"""Frozen records that the rooms hand each other. No logic beyond named constructors and derived numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import attrs


def _names(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _tuple(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _grids(values: Iterable[Iterable[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((height, width) for height, width in values)


def _grid_sides(_instance: object, _attribute: object, value: tuple[tuple[int, int], ...]) -> None:
    if any(side < 1 for grid in value for side in grid):
        raise ValueError("an image has no patches")


def _frame_counts(_instance: object, _attribute: object, value: tuple[int, ...]) -> None:
    if any(frames < 1 for frames in value):
        raise ValueError("a clip has no frames")


def _same_length(instance: Step, _attribute: object, value: tuple[int, ...]) -> None:
    if len(value) != len(instance.q_tokens):
        raise ValueError(f"{len(instance.q_tokens)} query lengths but {len(value)} cached lengths")


def _one_each(instance: Step, _attribute: object, value: tuple[int, ...]) -> None:
    if len(value) not in (0, len(instance.q_tokens)):
        raise ValueError(f"{len(instance.q_tokens)} query lengths but {len(value)} prompts")


def _no_shorter(instance: Step, _attribute: object, value: Step | None) -> None:
    if value is not None and any(
        real > run
        for reals, runs in ((instance.q_tokens, value.q_tokens), (instance.kv_tokens, value.kv_tokens))
        for real, run in zip(reals, runs, strict=True)
    ):
        raise ValueError("a padded batch is shorter than its sequences")


def _token_counts(_instance: object, attribute: attrs.Attribute[tuple[int, ...]], value: tuple[int, ...]) -> None:
    if any(count < 0 for count in value):
        raise ValueError(f"{attribute.name} holds a negative token count")


def _expert_count(_instance: object, _attribute: object, value: float | None) -> None:
    if value is not None and not 0 <= value <= MAX_BATCH:
        raise ValueError(f"{value!r} is no number of experts")


# More than any engine batches and any model attends to. Past them a slip of the finger fills the memory, and FLOPs of a
# step no longer fit 64 bits.
MAX_BATCH = 65_536
MAX_TOKENS = 16_777_216
# Of findings, the worst first.
SEVERITIES = ("error", "warning", "info")


@attrs.frozen
class LengthSums:
    """Sums over the sequences of a pass: what full causal attention needs, without the single lengths.

    `cached`: Σ kv, `squares`: Σ q², `products`: Σ q · kv, where q are new tokens and kv cached ones.
    """

    cached: int
    squares: int
    products: int


@attrs.frozen
class Step:
    """The shape of one forward pass: per sequence, how many tokens are new and how many are already cached.

    ``logits`` is the number of positions, summed over the batch, for which the LM head is computed. ``experts`` is the
    number of distinct routed experts that some token of the pass chose in a layer, as a mean over the layers that have
    experts; None where nobody counted them.

    Where single lengths are not known, this is the cheapest step that it may be, and ``upper`` the dearest;
    ``is_unlimited`` where nobody knows how dear: then ``upper`` is a step of as many tokens with more in the cache, or
    None where nobody knows how many tokens there are. ``q_is_known`` if the new tokens of each sequence are.
    ``sums`` is what is known of the lengths all together.

    ``part`` is which pass of a training step it is: 'forward', 'backward' (of such a forward), 'step' (both) or
    'optimizer' (of no tokens). None: a forward pass that nothing is trained by.

    ``images`` are (height, width) in patches of each image, or view of one, that goes through the vision tower in the
    pass. A pass of the tower alone has images and no sequences. ``seen_images`` went through it in an earlier pass and
    are no tokens: decoders of some models have layers that look at them. ``prompts`` are the tokens of each sequence's
    prompt, which windows of some models keep; empty where nobody says them. ``audio`` are frames of each clip, as the
    encoder of sound gets them, that it encodes in the pass. ``unsized`` is what it encodes besides, 'images' or
    'audio', of sizes that nobody knows.

    ``padded`` are the lengths that the pass is computed with, where the batch is padded and this step leaves it out.
    ``is_unread`` if the lengths may hold padding that nobody knows of, and ``may_have_ended`` if some sequences may be
    at their end before the pass. Those that are known to have ended have no new tokens. ``counts_encoder_again`` if the
    pass is charged for an encoder that ran before it. ``head`` if ``logits`` leaves out an LM head: 'unknown', of which
    only the GPU knows the positions, or 'apart', which the program may run itself.

    Of two stacks, ``encoder_tokens`` are those that the encoder reads of each sequence in the pass, before the decoder
    runs; ``seen_encoder_tokens`` it has read in an earlier one. ``is_encoder``: it alone runs, on ``q_tokens``.

    ``gradients_of`` is what a forward of training is given that has gradients, whatever weights are trained:
    'embeddings' or 'cache' (keys and values). ``is_frozen``: it trains none of the model's weights.
    """

    q_tokens: tuple[int, ...] = attrs.field(converter=_tuple, validator=_token_counts)
    kv_tokens: tuple[int, ...] = attrs.field(converter=_tuple, validator=[_same_length, _token_counts])
    logits: int
    experts: float | None = attrs.field(default=None, validator=_expert_count)
    sums: LengthSums | None = None
    upper: Step | None = None
    is_unlimited: bool = False
    q_is_known: bool = False
    part: str | None = None
    images: tuple[tuple[int, int], ...] = attrs.field(default=(), converter=_grids, validator=_grid_sides)
    seen_images: tuple[tuple[int, int], ...] = attrs.field(default=(), converter=_grids, validator=_grid_sides)
    audio: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_frame_counts)
    unsized: tuple[str, ...] = attrs.field(default=(), converter=_names)
    prompts: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=[_one_each, _token_counts])
    padded: Step | None = attrs.field(default=None, validator=_no_shorter)
    is_unread: bool = False
    may_have_ended: bool = False
    counts_encoder_again: bool = False
    head: str | None = None
    encoder_tokens: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_token_counts)
    seen_encoder_tokens: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_token_counts)
    is_encoder: bool = False
    gradients_of: str | None = None
    is_frozen: bool = False

    @classmethod
    def uniform(cls, *, batch: int, q_tokens: int, kv_tokens: int = 0, logits: int | None = None) -> Step:
        """`batch` sequences of one shape; the LM head runs once per sequence unless `logits` says otherwise."""
        return cls((q_tokens,) * batch, (kv_tokens,) * batch, batch if logits is None else logits)

    @classmethod
    def ragged(cls, q_tokens: Sequence[int], kv_tokens: Sequence[int], logits: int | None = None) -> Step:
        """Sequences of different lengths in one pass; the LM head runs once per sequence unless told otherwise."""
        return cls(q_tokens, kv_tokens, len(q_tokens) if logits is None else logits)

    @property
    def batch(self) -> int:
        return len(self.q_tokens)

    @property
    def is_exact(self) -> bool:
        """Whether the lengths are known."""
        return self.upper is None and not self.is_unlimited

    @property
    def new_tokens(self) -> int:
        """Tokens that go through the layers in this pass, without padding."""
        return sum(self.q_tokens)

    @property
    def padding_tokens(self) -> int:
        """Tokens of padding that go through the layers as well."""
        return self.padded.new_tokens - self.new_tokens if self.padded else 0

    @property
    def executed(self) -> Step:
        """The step with its padding."""
        if self.padded is None:
            return self
        names = ("q_tokens", "kv_tokens", "logits", "seen_encoder_tokens")
        run = {name: getattr(self.padded, name) for name in names}
        run["seen_encoder_tokens"] = run["seen_encoder_tokens"] or self.seen_encoder_tokens
        run["encoder_tokens"] = self.padded.encoder_tokens or self.encoder_tokens
        return attrs.evolve(self, **run, padded=None)


@attrs.frozen
class Device:
    """A GPU of the trace, with the peaks that utilization is measured against."""

    id: int
    name: str | None
    sm_count: int | None
    memory_bandwidth_bytes_per_s: int | None
    peaks_flops_per_s: dict[str, float] | None = None
    peak_bandwidth_bytes_per_s: float | None = None
    peaks_source: str | None = None
    has_work: bool = True


@attrs.frozen
class ProcessInfo:
    """A process with events in the trace; `name` is None where nsys did not say."""

    id: int
    name: str | None


@attrs.frozen
class TraceInfo:
    """What the trace is.

    `recorder` is `nsys` or `torch.profiler`. `nsys_version` is the `recorder_version`, or, where nothing says which
    nsys recorded it, the `exporter_version`.
    """

    path: str
    nsys_version: str | None
    recorder: str
    recorder_version: str | None
    exporter_version: str | None
    schema_version: str | None
    duration_ns: int | None
    window: str | None
    processes: list[ProcessInfo]
    devices: list[Device]


@attrs.frozen
class WorkTotals:
    """All GPU work of the trace. Times are sums of durations, in ns."""

    kernel_count: int
    kernel_time_ns: int
    memop_count: int
    memop_time_ns: int
    graph_launch_count: int
    graph_time_ns: int


@attrs.frozen
class PhaseDevice:
    """A phase's work on one GPU from one process."""

    device_id: int | None
    process_id: int | None
    kernel_count: int
    kernel_time_ns: int
    memop_count: int
    memop_time_ns: int
    graph_launch_count: int
    graph_time_ns: int
    gpu_span_ns: int
    gpu_busy_ns: int


class Bound(StrEnum):
    """What a number is that is not exact: at least, at most, or neither. The value is the sign before it."""

    least = "≥"
    most = "≤"
    neither = "~"

    @classmethod
    def of(cls, *, is_lower: bool | None, is_upper: bool | None) -> Bound | None:
        """By the columns `is_lower_bound` and `is_upper_bound`, which rows have; None if exact."""
        if is_lower and is_upper:
            return cls.neither
        return cls.least if is_lower else cls.most if is_upper else None

    @classmethod
    def in_row(cls, row: Mapping[str, Any]) -> Bound | None:
        """That of a row of a JSON report."""
        return cls.of(is_lower=row.get("is_lower_bound"), is_upper=row.get("is_upper_bound"))

    @property
    def turned(self) -> Bound:
        """That of what is left of an exact number when this one is taken away."""
        return {Bound.least: Bound.most, Bound.most: Bound.least}.get(self, self)


class _Signed:
    """A row of which the model's costs may not be exact."""

    __slots__ = ()
    is_lower_bound: bool | None
    is_upper_bound: bool | None

    @property
    def sign(self) -> Bound | None:
        """What FLOPs, bytes, utilization and the speed of light are if they are not exact."""
        return Bound.of(is_lower=self.is_lower_bound, is_upper=self.is_upper_bound)


@attrs.frozen
class ShapeRow(_Signed):
    """The occurrences of a phase that have one kind of shape, warm-up left out; times are sums over them, in ns."""

    shape: str
    occurrences: int
    tokens: int | None
    wall_ns: int
    gpu_busy_ns: int
    flops: int | None
    bytes: int | None
    mfu_wall: float | None
    mfu_busy: float | None
    mbu_wall: float | None
    mbu_busy: float | None
    flops_min: int | None
    flops_max: int | None
    product_flops: int | None
    bytes_min: int | None
    bytes_max: int | None
    mfu_busy_min: float | None
    mfu_busy_max: float | None
    mbu_busy_min: float | None
    mbu_busy_max: float | None
    is_lower_bound: bool | None
    is_upper_bound: bool | None
    is_tokens_upper_bound: bool | None
    bound: str | None
    bound_detail: str | None


@attrs.frozen
class Budget:
    """What the measured time of the GPUs was spent on: each ns in one class (docs/attribution.md). Unit: ns."""

    compute_ns: int = 0
    transfer_ns: int = 0
    wait_ns: int = 0
    copy_ns: int = 0
    launch_ns: int = 0
    latency_ns: int = 0
    sync_ns: int = 0
    api_ns: int = 0
    host_ns: int = 0

    @property
    def total_ns(self) -> int:
        """The measured time that all classes add up to."""
        return sum(attrs.astuple(self))


@attrs.frozen
class BucketRow:
    """A stretch of a trace without phases: what the time of all GPUs in it was spent on."""

    start_ns: int
    end_ns: int
    budget: Budget


@attrs.frozen
class PhaseTreeRow:
    """Phases of one name inside phases of the same names; columns that begin with `own` leave out what is inside."""

    path: str
    phase: str
    parent_path: str | None
    depth: int
    occurrences: int
    wall_ns: int
    own_wall_ns: int
    busy_ns: int
    own_busy_ns: int
    idle_ns: int
    own_idle_ns: int
    kernel_count: int
    own_kernel_count: int


@attrs.frozen
class Measured:
    """Hardware counters of a phase: means over the samples in its busy time, over GPUs (docs/counters.md).

    `busy` are the same counters per busy time, true to `busy_ratio_error`. Ratios are of peak, PCIe's and NVLink's of
    one direction. A counter that was not sampled is None, and `missing` says why.
    """

    tensor_active_ratio: float | None
    sm_active_ratio: float | None
    sm_issue_ratio: float | None
    dram_read_ratio: float | None
    dram_write_ratio: float | None
    pcie_rx_ratio: float | None
    pcie_tx_ratio: float | None
    nvlink_rx_ratio: float | None
    nvlink_tx_ratio: float | None
    sm_clock_hz: float | None
    samples: int
    busy: dict[str, float | None]
    busy_ratio_error: float | None
    nvlink_busy_ratio_error: float | None
    missing: dict[str, str]


@attrs.frozen
class Phase(_Signed):
    """One phase. Counts and sums hold warm-up and cold occurrences; medians, tokens, FLOPs, MFU and the like do not."""

    name: str
    occurrences: int
    warmup_occurrences: int
    cold_occurrences: int
    kernel_count: int
    kernel_time_ns: int
    memop_count: int
    memop_time_ns: int
    graph_launch_count: int
    graph_time_ns: int
    other_thread_count: int
    other_thread_time_ns: int
    wall_ns: int
    elapsed_ns: int
    gpu_open_ns: int
    thread_count: int
    gpu_span_ns: int | None
    gpu_busy_ns: int
    warmup_kernel_count: int
    warmup_graph_count: int
    warmup_wall_ns: int
    warmup_busy_ns: int
    cold_kernel_count: int
    cold_graph_count: int
    cold_wall_ns: int
    cold_busy_ns: int
    median_wall_ns: int | None
    median_busy_ns: int | None
    busy_ratio: float | None
    launch_latency_ns: float | None
    memcpy_count: int
    memcpy_time_ns: int
    idle_gap_count: int
    idle_gap_ns: int
    longest_idle_gap_ns: int | None
    api_time_ns: int | None
    launch_call_count: int
    launches_per_token: float | None
    measured_occurrences: int | None
    sharing_ranks: int | None
    tokens: int | None
    flops: int | None
    executed_flops: int | None
    bytes: int | None
    peak_flops_per_s: float | None
    mfu_wall: float | None
    mfu_span: float | None
    mfu_busy: float | None
    hfu_busy: float | None
    mbu_wall: float | None
    mbu_span: float | None
    mbu_busy: float | None
    compute_ns: float | None
    memory_ns: float | None
    sol_ns: float | None
    sol_ratio: float | None
    flops_per_byte: float | None
    ridge_flops_per_byte: float | None
    measured_busy_ns: int | None
    measured_wall_ns: int | None
    flops_min: int | None
    flops_max: int | None
    product_flops: int | None
    attention_flops_min: int | None
    attention_flops_max: int | None
    bytes_min: int | None
    bytes_max: int | None
    mfu_wall_min: float | None
    mfu_wall_max: float | None
    mfu_busy_min: float | None
    mfu_busy_max: float | None
    mbu_busy_min: float | None
    mbu_busy_max: float | None
    is_lower_bound: bool | None
    is_upper_bound: bool | None
    is_tokens_upper_bound: bool | None
    is_hfu_upper_bound: bool | None
    bound: str | None
    bound_detail: str | None
    shapes: list[ShapeRow]
    devices: list[PhaseDevice]
    budget: Budget
    median_budget: Budget
    measured: Measured | None
    source: str | None = None
    score: float | None = None
    evidence: str | None = None

    @property
    def tokens_sign(self) -> Bound | None:
        """What tokens are if they are not exact."""
        return Bound.most if self.is_tokens_upper_bound else None

    @property
    def operators_sign(self) -> Bound | None:
        """What FLOPs and bytes of its operators are if they are not exact; parts that are not counted are none."""
        return Bound.most if self.is_upper_bound else None

    @property
    def counted_occurrences(self) -> int:
        """Occurrences that are neither warm-up nor cold."""
        return self.occurrences - self.warmup_occurrences - self.cold_occurrences

    @property
    def counted_wall_ns(self) -> int:
        """Host time of them."""
        return self.wall_ns - self.warmup_wall_ns - self.cold_wall_ns

    @property
    def counted_busy_ns(self) -> int:
        """GPU busy time of them."""
        return self.gpu_busy_ns - self.warmup_busy_ns - self.cold_busy_ns

    @property
    def outlives_ranges(self) -> bool:
        """Whether its GPUs work for it for longer than its ranges are open, warm-up and cold ones left out."""
        return self.counted_wall_ns > 0 and self.busy_ratio is None

    @property
    def busy_share(self) -> float | None:
        """`busy_ratio` as readers are shown it: of a phase without GPU work there is no GPU that would be idle."""
        return self.busy_ratio if self.counted_busy_ns > 0 else None

    @property
    def is_partly_measured(self) -> bool:
        """Whether tokens, FLOPs, bytes, MFU and MBU are those of some of its occurrences only."""
        return self.measured_occurrences is not None and self.measured_occurrences < self.counted_occurrences


@attrs.frozen
class Unattributed:
    """GPU work in no phase, and why: reason → {count, time_ns} over kernels, copies, fills and graphs."""

    kernel_count: int
    kernel_time_ns: int
    memop_count: int
    memop_time_ns: int
    graph_launch_count: int
    graph_time_ns: int
    reasons: dict[str, dict[str, int]]
    budget: Budget
    bound: str | None
    bound_detail: str | None


@attrs.frozen
class KernelRow:
    """One kernel of one phase; `phase` is None outside every phase. Times are sums of durations, in ns.

    Counts and sums hold warm-up and cold occurrences; `share`, of the phase's kernel time, leaves them out, and is None
    in a phase that has nothing else.
    """

    phase: str | None
    name: str | None
    family: str
    count: int
    time_ns: int
    warmup_count: int
    warmup_time_ns: int
    cold_count: int
    cold_time_ns: int
    share: float | None

    @property
    def measured_count(self) -> int:
        return self.count - self.warmup_count - self.cold_count

    @property
    def measured_time_ns(self) -> int:
        return self.time_ns - self.warmup_time_ns - self.cold_time_ns


@attrs.frozen
class BaselineRow:
    """Mean time of a phase of one shape, traced and without a profiler.

    `phase` and `shape` are None for all that was recorded. `slower_ratio`: traced / untraced - 1.
    """

    phase: str | None
    shape: str | None
    traced_ns: int
    untraced_ns: int
    slower_ratio: float


@attrs.frozen
class ServedSummary:
    """What an engine served, from its marks, warm-up left out: row of the view `served_summary`.

    `cold_requests`: those with a cold step, which count here and in the latencies of `requests` alike.
    `given_up_requests`: those that their client, or the server's front end, ended; what they had by then counts.
    `judged_tokens`: guesses of which a later step shows how many were right.
    `good_requests`: those within the limits of `--goodput`, None without limits. `load_ns`: how long the load ran by
    its own clock, None where no run.json says so. `may_count_discarded`: whether the new tokens may include one of each
    request that its client never gets: SGLang's overlapping scheduler, vLLM's asynchronous one.
    """

    requests: int
    cold_requests: int
    given_up_requests: int
    span_ns: int | None
    requests_per_s: float | None
    new_tokens: int
    new_tokens_per_s: float | None
    latency_p50_ns: int | None
    latency_p90_ns: int | None
    latency_p99_ns: int | None
    prompt_tokens: int | None
    reused_tokens: int | None
    reused_ratio: float | None
    computed_tokens: int | None
    prompt_tokens_per_s: float | None
    prefill_steps: int | None
    preemptions: int
    draft_tokens: int
    judged_tokens: int
    accepted_tokens: int
    good_requests: int | None
    goodput_per_s: float | None
    load_ns: int | None
    may_count_discarded: bool = False


@attrs.frozen
class HostLine:
    """A line of a function; see `HostRow`."""

    line: int | None
    self_samples: int
    self_ns: int
    self_error_ns: int


@attrs.frozen
class HostRow:
    """A function of Python that ran in a phase while the GPUs were idle, by samples of the launching threads' stacks.

    `part`: class of the budget, or 'cold' for all the time of cold occurrences. Times in ns are estimates with their
    standard errors: `self_ns` in which it ran itself, as it did in `share_ratio` of the samples of the phase and part;
    `time_ns` in which it was on the stack. `line` is the one that ran most often, `lines` are those that ran most.
    """

    phase: str | None
    part: str
    function: str | None
    file: str | None
    line: int | None
    self_samples: int
    samples: int
    share_ratio: float
    self_ns: int
    self_error_ns: int
    time_ns: int
    time_error_ns: int
    lines: list[HostLine]

    @property
    def is_cold(self) -> bool:
        return self.part == "cold"


@attrs.frozen
class OperatorRow:
    """One operator of the model in marked layers, for one phase and kind of shape, warm-up left out."""

    phase: str
    shape: str
    operator: str
    occurrences: int
    kernel_count: int
    time_ns: int
    flops: int
    bytes: int
    flops_per_s: float | None
    bytes_per_s: float | None
    flops_per_byte: float | None
    sol_ns: float | None
    roofline_ratio: float | None


@attrs.frozen
class TorchOperatorRow:
    """Calls of one operator of torch with inputs of the same shapes in a phase, warm-up left out. Times in ns.

    `gpu_self_ns` is what no operator inside launched: it adds up over rows. `phase` is None outside every phase,
    `module` outside every marked one (`layer.attn`, `vision.tower`, …), `shapes` where they were not recorded; FLOPs
    are None where shapes do not say them.
    """

    phase: str | None
    module: str | None
    operator: str
    shapes: str | None
    calls: int
    host_time_ns: int
    host_self_ns: int
    gpu_time_ns: int
    gpu_self_ns: int
    gpu_self_ratio: float | None
    flops: int | None
    flops_per_s: float | None
    bytes: int | None
    sol_ns: float | None
    roofline_ratio: float | None


@attrs.frozen
class Check:
    """Something that must hold on every trace."""

    name: str
    passed: bool
    detail: str


@attrs.frozen
class Notice:
    """Something the reader must know about the numbers."""

    code: str
    message: str
    hint: str | None = None


# `budget_part` of a cause whose time is in no budget: that of training steps outside of their passes.
OUTSIDE_BUDGET = "outside"


@attrs.frozen
class Finding:
    """Something the reader must know about the numbers, or should look at: a row of the view `findings`.

    `severity`: 'error', a number is wrong or cannot be trusted; 'warning', a number lacks something or rests on an
    assumption; 'info', worth knowing. `phase` is None for the whole trace, `at_stake_ns` where no time is known.
    `budget_part` makes it a cause: `at_stake_ns` is the most that a cure would save of these classes of the phase's
    budget, joined by '+', or of no budget ('outside').
    """

    code: str
    severity: str
    phase: str | None
    message: str
    hint: str | None
    at_stake_ns: int | None
    budget_part: str | None

    def rank(self) -> tuple[int, int, str, str, str]:
        """What findings are ordered by, as the view orders them: severity, then time at stake."""
        severity = SEVERITIES.index(self.severity)
        return severity, -(self.at_stake_ns or -1), self.code, self.phase or "", self.message


@attrs.frozen
class NsysDifference:
    """A row of a `nsys stats` report that does not say what llmperf finds by the same definition.

    None: there is no such row. `reason` is None where nothing explains it.
    """

    report: str
    row: str
    nsys_count: int | None
    nsys_time_ns: int | None
    kernel_count: int | None
    kernel_time_ns: int | None
    reason: str | None


@attrs.frozen
class NsysPhase:
    """A phase's kernels here and in `nsys stats`, which counts a kernel for every range around its call.

    `reasons`: reason → [kernels only here or only there, sum of their durations in ns].
    """

    phase: str
    kernel_count: int
    kernel_time_ns: int
    nsys_kernel_count: int
    nsys_kernel_time_ns: int
    graph_launch_count: int
    reasons: dict[str, tuple[int, int]]


@attrs.frozen
class Verification:
    """What the reports of an installed `nsys stats` say about the same trace. `rows`: report → rows compared."""

    nsys_version: str
    rows: dict[str, int]
    differences: list[NsysDifference]
    phases: list[NsysPhase]

    @property
    def unexplained(self) -> int:
        """Differences without a reason."""
        rows = sum(difference.reason is None for difference in self.differences)
        return rows + sum("unexplained" in phase.reasons for phase in self.phases)


@attrs.frozen
class TrainingSummary(_Signed):
    """Training steps of all ranks together, warm-up, cold and incomplete ones left out: the view `training_summary`."""

    steps: int
    left_out: int
    rank_count: int
    device_count: int
    micro_batches: int
    tokens: int | None
    wall_ns: int
    median_wall_ns: int
    input_wait_ns: int
    median_input_wait_ns: int
    gpu_busy_ns: int
    flops: int | None
    recomputed_flops: int | None
    recomputed_min_flops: int | None
    tokens_per_s_per_gpu: float | None
    mfu_wall: float | None
    mfu_busy: float | None
    hfu_wall: float | None
    hfu_busy: float | None
    hfu_wall_min: float | None
    hfu_busy_min: float | None
    is_lower_bound: bool | None
    is_upper_bound: bool | None
    is_tokens_upper_bound: bool | None
    is_hfu_upper_bound: bool | None


@attrs.frozen
class RankRow(_Signed):
    """A rank of the job and what the measured time of its GPUs was spent on, in ns: a row of the view `rank_summary`.

    `is_late`: the others wait for it in collectives, for `blamed_ns` in all, each of them `blamed_step_ns` a training
    step. `late_phase`: where they wait longest; `reason`: 'compute', 'data' or 'host', which explains `more_ns`.
    """

    rank: int | None
    world: int | None
    process_id: int
    host_id: int
    device_ids: list[int]
    trace: str | None
    window_ns: int | None
    compute_ns: int | None
    transfer_ns: int | None
    wait_ns: int | None
    copy_ns: int | None
    idle_ns: int | None
    blamed_ns: int | None
    blamed_step_ns: int | None
    is_late: bool
    late_phase: str | None
    reason: str | None
    more_ns: int | None
    flops: int | None
    median_step_ns: int | None
    median_input_wait_ns: int | None
    mfu_wall: float | None
    is_lower_bound: bool | None
    is_upper_bound: bool | None

    @property
    def name(self) -> str:
        """What readers call it."""
        return f"pid {self.process_id}" if self.rank is None else str(self.rank)


@attrs.frozen
class RankLateness:
    """How long the others wait for a rank in the collectives of a phase, in ns: a row of the view `rank_lateness`.

    `blamed_ns`: in all of them; `wait_ns` and what follows leave out those behind a cold step. `step_ns`: what one of
    the others waits in a step, over `steps` of them; `reason`: 'compute', 'data' or 'host', which explains `more_ns`.
    """

    rank: int | None
    process_id: int
    host_id: int
    phase: str
    blamed_ns: int
    wait_ns: int
    late_count: int
    collectives: int
    each_ns: int
    steps: int | None
    step_ns: int | None
    is_late: bool
    reason: str | None
    more_ns: int | None


@attrs.frozen
class StageRow(_Signed):
    """One part of the vision side in one phase, or the `rest` of the phase: a row of the view `stage_summary`."""

    phase: str
    stage: str
    parent: str | None
    occurrences: int
    range_count: int | None
    wall_ns: int
    own_wall_ns: int
    kernel_count: int | None
    gpu_busy_ns: int
    own_busy_ns: int
    own_idle_ns: int
    own_launch_ns: int
    own_latency_ns: int
    own_sync_ns: int
    own_api_ns: int
    own_host_ns: int
    wall_ratio: float | None
    busy_ratio: float | None
    flops: int | None
    bytes: int | None
    mfu_wall: float | None
    mfu_busy: float | None
    mbu_busy: float | None
    sol_ratio: float | None
    is_lower_bound: bool | None
    is_upper_bound: bool | None


@attrs.frozen
class RepeatRow:
    """Times of requests of one shape in one phase, or in one stage of it: a row of the view `repeat_summary`. In ns."""

    shape: str
    phase: str
    stage: str | None
    repeats: int
    cold: int
    mean_wall_ns: float | None
    sd_wall_ns: float | None
    mean_busy_ns: float | None
    sd_busy_ns: float | None


@attrs.frozen
class CollectiveRow:
    """Communication of one phase by one kernel, over all ranks: a row of the view `collective_summary`. Times in ns."""

    phase: str | None
    kind: str | None
    name: str
    algorithm: str | None
    protocol: str | None
    dtype: str | None
    rank_count: int | None
    kernel_count: int
    time_ns: int
    wait_ns: int | None
    transfer_ns: int | None
    overlapped_ns: int
    exposed_ns: int
    exposed_ratio: float | None
    message_bytes: int | None
    bus_bytes_per_s: float | None
    link_ratio: float | None


@attrs.frozen
class ModelInfo:
    """The model that FLOPs and bytes are of, and how they are counted.

    `label` says how far its formulas can be trusted (`Model.label`). `products`: dtypes of its matrix products.
    `not_counted` and `notes`: what is in no number, and what a reader should know of them. `routing`: `uniform`,
    `counted` or `partly counted`, None without experts. `convention`: `Conventions` that are set, and sizes of images
    and of audio.
    """

    name: str
    params: int
    active_params: int
    dtype: str
    products: list[str]
    label: str
    not_counted: list[str]
    notes: list[str]
    routing: str | None
    convention: dict[str, str | int | list[int | list[int]]]


@attrs.frozen
class RequestRow:
    """Latency of requests of one shape: a row of the view `request_summary`."""

    shape: str | None
    requests: int
    ttft_p50_ns: int | None
    ttft_p90_ns: int | None
    ttft_p99_ns: int | None
    ttft_sd_ns: int | None
    tpot_p50_ns: int | None
    tpot_p90_ns: int | None
    tpot_p99_ns: int | None
    tpot_sd_ns: int | None


@attrs.frozen
class Report:
    """The whole analysis of one trace. `windows_ns`: GPU → its measured time, which all budgets together are of."""

    trace: TraceInfo
    totals: WorkTotals
    phases: list[Phase]
    unattributed: Unattributed
    windows_ns: dict[int, int]
    kernels: list[KernelRow]
    checks: list[Check]
    findings: list[Finding]
    model: ModelInfo | None = None
    requests: list[RequestRow] = attrs.field(factory=list)
    operators: list[OperatorRow] = attrs.field(factory=list)
    torch_operators: list[TorchOperatorRow] = attrs.field(factory=list)
    stages: list[StageRow] = attrs.field(factory=list)
    repeats: list[RepeatRow] = attrs.field(factory=list)
    training: TrainingSummary | None = None
    ranks: list[RankRow] = attrs.field(factory=list)
    rank_lateness: list[RankLateness] = attrs.field(factory=list)
    collectives: list[CollectiveRow] = attrs.field(factory=list)
    verification: Verification | None = None
    host: list[HostRow] = attrs.field(factory=list)
    baseline: list[BaselineRow] = attrs.field(factory=list)
    time_buckets: list[BucketRow] = attrs.field(factory=list)
    phase_tree: list[PhaseTreeRow] = attrs.field(factory=list)
    served: ServedSummary | None = None

    @property
    def warnings(self) -> list[Finding]:
        """Findings that put a number in doubt."""
        return [finding for finding in self.findings if finding.severity != "info"]

    @property
    def causes(self) -> list[Finding]:
        """Findings that could be cured, those first that would save most."""
        found = [finding for finding in self.findings if finding.budget_part]
        return sorted(found, key=lambda one: (-(one.at_stake_ns or 0), one.code, one.phase or "", one.message))

    def share_at_stake(self, finding: Finding) -> float | None:
        """How much of its phase's measured time a cure of `finding` would save at most."""
        budgets: dict[str | None, Budget] = {phase.name: phase.budget for phase in self.phases}
        budgets[None] = self.unattributed.budget
        in_budget = finding.phase in budgets and finding.budget_part != OUTSIDE_BUDGET
        whole = budgets[finding.phase].total_ns if in_budget else 0
        return finding.at_stake_ns / whole if finding.at_stake_ns is not None and whole else None


@attrs.frozen
class Timeline:
    """What a page draws on its timeline, packed: see `detail.timeline` for the layout of `data`.

    `span_count` spans stand for `operation_count` operations: `resolution_ns` is None where each is its own span.
    """

    data: bytes = attrs.field(repr=False)
    span_count: int
    operation_count: int
    resolution_ns: int | None


@attrs.frozen
class StepTime:
    """One occurrence of a phase. `context`: cached tokens per sequence; None where the shape is not known."""

    phase: str
    occurrence: int
    start_ns: int
    wall_ns: int
    gpu_busy_ns: int
    batch: int | None
    context: int | None


@attrs.frozen
class RequestTime:
    """One request: time to first token and time per output token, None where it has none or they are not known."""

    start_ns: int | None
    ttft_ns: int | None
    tpot_ns: float | None


@attrs.frozen
class CounterSample:
    """Hardware counters of one GPU, means over a stretch of time that begins at `at_ns`; None: not sampled."""

    device_id: int
    at_ns: int
    tensor_active_ratio: float | None
    sm_active_ratio: float | None
    sm_issue_ratio: float | None
    dram_read_ratio: float | None
    dram_write_ratio: float | None
    pcie_rx_ratio: float | None
    pcie_tx_ratio: float | None
    nvlink_rx_ratio: float | None
    nvlink_tx_ratio: float | None


@attrs.frozen(kw_only=True)
class Detail:
    """What a page shows of a trace beyond the report. `environment`: names and values."""

    timeline: Timeline | None = None
    steps: list[StepTime] = attrs.field(factory=list)
    requests: list[RequestTime] = attrs.field(factory=list)
    counters: list[CounterSample] = attrs.field(factory=list)
    environment: list[tuple[str, str]] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class Run:
    """A run directory: what its run.json and its reports say; None and empty where they do not.

    `phases`: name → (bound, MFU busy, MBU busy). `signs`: of those phases whose two are not exact. `problem`: why there
    is no more to say.
    """

    name: str
    started: str | None = None
    model: str | None = None
    gpus: str | None = None
    shapes: str | None = None
    ttft_ns: float | None = None
    tpot_ns: float | None = None
    phases: dict[str, tuple[str | None, float | None, float | None]] = attrs.field(factory=dict)
    signs: dict[str, Bound] = attrs.field(factory=dict)
    problem: str | None = None
    page: str | None = None


@attrs.frozen
class FleetPhase:
    """How long an occurrence of a phase takes over the traces of a fleet: quantiles of the medians of each trace.

    `workload`: what makes runs comparable: model (or name), GPUs and ranks. `shape`: the one that most time goes to.
    """

    workload: str
    phase: str
    shape: str | None
    runs: int
    traces: int
    wall_ns: tuple[float, float, float]  # 5 %, median, 95 %
    busy_ns: tuple[float, float, float]


@attrs.frozen
class FleetRank:
    """A rank that the others wait for, by durations alone. Times are of one step: an occurrence of each phase.

    `waited_ns`: how much longer than it the others are in collectives. `reason`: what it has more of, `more_ns`:
    'compute', 'data' or 'host'; None where nothing tells. `p_value`: over all ranks of the fleet together.
    """

    run: str
    rank: int
    hostname: str | None
    waited_ns: float
    waited_ratio: float | None
    reason: str | None
    more_ns: float | None
    p_value: float


@attrs.frozen
class FleetChange:
    """A change over time. `measure`: 'wall' or 'busy'. `p_value`: over all series of the fleet together.

    `others`: what else changed between the two runs: names and values before and after.
    """

    workload: str
    phase: str
    shape: str | None
    measure: str
    last_run: str
    first_run: str
    at: str
    runs_before: int
    runs_after: int
    before_ns: float
    after_ns: float
    p_value: float
    others: tuple[tuple[str, str | None, str | None], ...]

    @property
    def ratio(self) -> float:
        """Relative change of the time."""
        return (self.after_ns - self.before_ns) / self.before_ns if self.before_ns else 0.0


@attrs.frozen
class FleetGroup:
    """Traces of one host or day: medians of their times over those of all traces of the same workload (1: the same)."""

    name: str
    traces: int
    wall_ratio: float | None
    compute_ratio: float | None


@attrs.frozen
class FleetVersion:
    """Runs of a workload with one version of a driver, of CUDA or of nsys, and those with the version before it.

    `p_value`: Welch's t-test, over all pairs of the fleet together; None where there are too few runs. `verdict`: that
    of the test, as `llmperf diff` names it.
    """

    workload: str
    phase: str
    what: str
    before: str
    after: str
    runs_before: int
    runs_after: int
    before_ns: float
    after_ns: float
    p_value: float | None
    verdict: str


@attrs.frozen
class FleetReport:
    """What the traces of a fleet say together.

    `repeated`: paths of traces that hold one recording; each of them counts.
    """

    traces: int
    runs: int
    hosts: int
    failures: tuple[tuple[str, str], ...]
    repeated: tuple[tuple[str, ...], ...]
    first: str | None
    last: str | None
    undated_runs: int
    tested_series: int
    phases: tuple[FleetPhase, ...]
    late_ranks: tuple[FleetRank, ...]
    tested_ranks: int
    changes: tuple[FleetChange, ...]
    host_groups: tuple[FleetGroup, ...]
    day_groups: tuple[FleetGroup, ...]
    versions: tuple[FleetVersion, ...]
    findings: tuple[tuple[str, int], ...]
