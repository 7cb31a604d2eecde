"""Small traces of a decode loop, each with one planted cause: what a reader should be told first is known.

A healthy step launches STEP_KERNELS kernels far ahead of a busy GPU: kernels of 100 µs and launches of 5 µs. Each cause
changes one thing about it. Times are ns. `random` varies counts and lengths, not the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import load_model
from tests.support.trace_builder import ThreadBuilder, TraceBuilder

STEPS, STEP_KERNELS = 6, 20
#: Variations of each trace.
SEEDS = 3
US = 1_000
GEMM = "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT"
COPY, SMALL, SOFTMAX = "CatArrayBatchedCopy", "elementwise_kernel", "softmax_warp_forward"
ATTENTION, EXPERTS = "flash_fwd_kernel", "fused_moe_kernel"
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


class Loop:
    """A thread that launches and a GPU that works in order, each with its own clock."""

    def __init__(self, random: Random, trace: TraceBuilder | None = None, device: int = 0) -> None:
        self.trace = (TraceBuilder() if trace is None else trace).gpu(device)
        self.device = device
        self.main: ThreadBuilder = self.trace.process(100 + device).thread()
        self.random = random
        self.host_ns = 1_000
        self.gpu_ns = 0

    def python(self, ns: int) -> None:
        """The host runs its own code."""
        self.host_ns += ns

    def kernel(
        self, ns: int, name: str = GEMM, *, call_ns: int = 5 * US, latency_ns: int = 2 * US, **more: Any
    ) -> None:
        """A launch, and a kernel that starts when the GPU is free."""
        start = max(self.gpu_ns, self.host_ns + call_ns + latency_ns)
        self.main.launch(
            self.host_ns, until=self.host_ns + call_ns, gpu=(start, start + ns), name=name, device=self.device, **more
        )
        self.host_ns += call_ns + US
        self.gpu_ns = start + ns

    def nodes(self, ns: int, gap_ns: int, count: int) -> None:
        """A launch of a CUDA graph whose nodes start `gap_ns` after the one before has ended."""
        start = max(self.gpu_ns, self.host_ns + 7 * US)
        spans = [(start + n * (ns + gap_ns), start + n * (ns + gap_ns) + ns) for n in range(count)]
        self.main.graph_launch(self.host_ns, until=self.host_ns + 5 * US, nodes=spans, device=self.device)
        self.host_ns += 6 * US
        self.gpu_ns = spans[-1][1]

    def copy(self, ns: int, *, pageable: bool) -> None:
        """A copy to the GPU; from pageable memory the call returns when it is done."""
        start = max(self.gpu_ns, self.host_ns + 5 * US)
        until = start + ns if pageable else self.host_ns + 4 * US
        correlation = self.main.call(self.host_ns, until=until, api="cudaMemcpyAsync_v3020")
        kind = 0 if pageable else 1
        self.main.process.memcpy(
            (start, start + ns), correlation=correlation, size_bytes=ns, device=self.device, srcKind=kind
        )
        self.host_ns, self.gpu_ns = until + US, start + ns

    def graph(self, lengths: Sequence[int], name: str) -> None:
        """A CUDA graph of kernels that follow each other without a gap."""
        correlation = self.main.call(self.host_ns, until=self.host_ns + 10 * US, api="cudaGraphLaunch_v10000")
        at = max(self.gpu_ns, self.host_ns + 12 * US)
        for node, ns in enumerate(lengths):
            self.main.process.kernel(
                (at, at + ns), correlation=correlation, name=name, device=self.device, graphNodeId=1 << 32 | node
            )
            at += ns
        self.host_ns += 11 * US
        self.gpu_ns = at

    def synchronize(self, api: str = "cudaStreamSynchronize_v3020") -> None:
        """The host waits for the GPU."""
        until = max(self.gpu_ns, self.host_ns) + 10 * US
        self.main.call(self.host_ns, until=until, api=api)
        self.host_ns = until

    def call(self, ns: int, api: str) -> None:
        """A CUDA call that launches nothing."""
        self.main.call(self.host_ns, until=self.host_ns + ns, api=api)
        self.host_ns += ns

    def steps(
        self, body: Callable[[Loop], None], *, phase: str = "decode", tokens: tuple[int, int] | None = None
    ) -> TraceBuilder:
        """STEPS occurrences of `phase`, each with `body`; `tokens`: new and cached ones, as llmperf's own marks say."""
        domain = "llmperf" if tokens else None
        for _ in range(STEPS):
            start = self.host_ns
            if tokens:
                text = f'llmperf.step {{"q":[{tokens[0]}],"kv":[{tokens[1]}],"logits":1}}'
                self.main.mark(start + US // 2, text, domain=domain)
            self.host_ns += US
            body(self)
            self.main.push(start, self.host_ns, phase, domain=domain)
            self.host_ns += US
        return self.trace


def healthy(random: Random) -> TraceBuilder:
    """A busy GPU whose work is launched ahead."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)

    return Loop(random).steps(body)


def slow_host(random: Random) -> TraceBuilder:
    """Python between launches that takes longer than the kernels."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.python(random.randrange(60, 90) * US)
            loop.kernel(random.randrange(20, 30) * US)

    return Loop(random).steps(body)


def slow_launches(random: Random) -> TraceBuilder:
    """Launching calls that take longer than the kernels."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(20, 30) * US, call_ns=random.randrange(50, 70) * US)

    return Loop(random).steps(body)


def loading(random: Random) -> TraceBuilder:
    """A library that each step loads."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)
        loop.synchronize()
        loop.call(random.randrange(300, 500) * US, "cuLibraryLoadData")

    return Loop(random).steps(body)


def allocating(random: Random) -> TraceBuilder:
    """Memory that each step frees and allocates."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)
        loop.synchronize()
        loop.call(random.randrange(150, 250) * US, "cudaFree_v3020")
        loop.call(random.randrange(150, 250) * US, "cudaMalloc_v3020")

    return Loop(random).steps(body)


def item_in_the_loop(random: Random) -> TraceBuilder:
    """A value that is read from the GPU after every other kernel, as `.item()` does."""

    def body(loop: Loop) -> None:
        for index in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)
            if index % 2:
                loop.synchronize()
                loop.python(random.randrange(15, 20) * US)

    return Loop(random).steps(body)


def pageable_inputs(random: Random) -> TraceBuilder:
    """Inputs that each step copies from pageable memory: the call returns when the copy is done."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)
        loop.copy(random.randrange(400, 600) * US, pageable=True)

    return Loop(random).steps(body)


def pinned_inputs(random: Random) -> TraceBuilder:
    """The same from pinned memory, and short."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)
        loop.copy(random.randrange(5, 10) * US, pageable=False)

    return Loop(random).steps(body)


def offloaded(*, beside: bool) -> Callable[[Random], TraceBuilder]:
    """Weights that each layer copies from pinned memory before it computes; `beside`: while the one before computes."""

    def make(random: Random) -> TraceBuilder:
        def body(loop: Loop) -> None:
            for _ in range(STEP_KERNELS):
                before = loop.gpu_ns
                loop.copy(random.randrange(80, 120) * US, pageable=False)
                if beside:
                    loop.gpu_ns = before
                loop.kernel(random.randrange(120, 150) * US, stream=8)

        return Loop(random).steps(body)

    return make


def asking(random: Random) -> TraceBuilder:
    """Calls before each launch that only ask for something."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            for _ in range(4):
                loop.call(random.randrange(8, 12) * US, "cudaStreamIsCapturing_v10000")
            loop.kernel(random.randrange(20, 30) * US)

    return Loop(random).steps(body)


def named(name: str, ns: int, every: int) -> Callable[[Random], TraceBuilder]:
    """A loop in which one of `every` kernels is called `name` and takes about `ns`."""

    def make(random: Random) -> TraceBuilder:
        def body(loop: Loop) -> None:
            for index in range(STEP_KERNELS * every):
                is_named = index % every == 0
                length = ns if is_named else 100 * US
                loop.kernel(random.randrange(8 * length // 10, 12 * length // 10), name if is_named else GEMM)

        return Loop(random).steps(body)

    return make


def few_blocks(blocks: int, *, beside: bool = False) -> Callable[[Random], TraceBuilder]:
    """A loop in which every other kernel has `blocks` blocks; `beside`: with others of a second stream all the time."""

    def make(random: Random) -> TraceBuilder:
        def body(loop: Loop) -> None:
            for index in range(STEP_KERNELS):
                before = loop.gpu_ns
                loop.kernel(random.randrange(80, 120) * US)
                loop.kernel(random.randrange(80, 120) * US, ATTENTION, gridX=blocks, gridY=1 + index % 2)
                if beside:
                    end = loop.gpu_ns
                    loop.gpu_ns = before
                    loop.kernel(max(1, end - max(before, loop.host_ns + 7 * US)), stream=8)
                    loop.gpu_ns = end

        return Loop(random).steps(body)

    return make


def small(random: Random) -> TraceBuilder:
    """A CUDA graph of many short kernels."""

    def body(loop: Loop) -> None:
        loop.graph([random.randrange(2_000, 4_000) for _ in range(20 * STEP_KERNELS)], SMALL)
        loop.kernel(random.randrange(80, 120) * US)

    return Loop(random).steps(body)


def eager_attention(random: Random) -> TraceBuilder:
    """Products, softmax and products in each layer, and no kernel that is called attention."""

    def body(loop: Loop) -> None:
        for _ in range(STEP_KERNELS):
            loop.kernel(random.randrange(80, 120) * US)
            loop.kernel(random.randrange(80, 120) * US, SOFTMAX)
            loop.kernel(random.randrange(80, 120) * US)
            loop.kernel(random.randrange(80, 120) * US, "ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x4_tn")

    return Loop(random).steps(body)


def rank_in_a_ring(random: Random) -> TraceBuilder:
    """Two ranks that only communicate for a while in each step, and come at the same time."""
    loops = []
    lengths = [random.randrange(80, 120) * US for _ in range(STEP_KERNELS)]
    trace = None
    for device in range(2):
        loop = Loop(random, trace, device)
        trace = loop.trace
        loops.append(loop)

        def body(loop: Loop) -> None:
            for index, length in enumerate(lengths):
                loop.kernel(length)
                if index % 2:
                    loop.kernel(100 * US, ALL_REDUCE)

        loop.steps(body)
    return loops[0].trace


def beside_communication(percent: int) -> Callable[[Random], TraceBuilder]:
    """A rank that communicates beside the second half of each step, whose kernels take `percent` of their time then."""

    def make(random: Random) -> TraceBuilder:
        def body(loop: Loop) -> None:
            for index in range(STEP_KERNELS):
                length = random.randrange(90, 110) * US
                if index == STEP_KERNELS // 2:
                    start = max(loop.gpu_ns, loop.host_ns + 10 * US)
                    end = start + STEP_KERNELS // 2 * 90 * percent // 100 * US
                    loop.main.launch(loop.host_ns, gpu=(start, end), name=ALL_REDUCE, stream=20)
                    loop.host_ns += US
                loop.kernel(length * percent // 100 if index >= STEP_KERNELS // 2 else length)

        return Loop(random).steps(body)

    return make


def training(*, waits: bool) -> Callable[[Random], TraceBuilder]:
    """Training steps whose input takes 2 ms of the host: when it has looked at the loss, or while the GPU works."""

    def make(random: Random) -> TraceBuilder:
        loop = Loop(random)
        for _ in range(STEPS):
            for name, kernels in (("forward", 8), ("backward", 16), ("optimizer", 2)):
                start = loop.host_ns
                for _ in range(kernels):
                    loop.kernel(random.randrange(200, 300) * US)
                loop.main.push(start, loop.host_ns, name)
            if waits:
                loop.host_ns = max(loop.host_ns, loop.gpu_ns)
            loop.python(random.randrange(1_900, 2_100) * US)
        return loop.trace

    return make


def late_rank(random: Random) -> TraceBuilder:
    """Two ranks that communicate after each kernel; those of one take twice as long, so that the other one waits."""
    lengths = [random.randrange(160, 240) * US for _ in range(STEP_KERNELS)]

    def body(loops: Sequence[Loop], _: int) -> None:
        for index, length in enumerate(lengths):
            for loop in loops:
                loop.kernel(length // (2 - loop.device))
            if index % 2:
                reduce_together(loops, 20 * US)

    return ranks(random, body)


def hot_experts(ratio: int, *, waits: bool = True) -> Callable[[Random], TraceBuilder]:
    """Two ranks with experts each, those of one of them taking `ratio` times as long, another one in each step.

    They communicate after each kernel, so that the other one waits; or never.
    """

    def make(random: Random) -> TraceBuilder:
        def body(loops: Sequence[Loop], step: int) -> None:
            for _ in range(STEP_KERNELS):
                length = random.randrange(80, 120) * US
                for loop in loops:
                    loop.kernel(length)
                    is_hot = loop.device == step % 2
                    loop.kernel(length * (ratio if is_hot else 1), EXPERTS)
                if waits:
                    reduce_together(loops, 5 * US)

        return ranks(random, body)

    return make


def ranks(random: Random, body: Callable[[Sequence[Loop], int], None]) -> TraceBuilder:
    """STEPS occurrences of two ranks; `body` gets both, and the number of the step."""
    loops = [Loop(random)]
    loops.append(Loop(random, loops[0].trace, 1))
    for step in range(STEPS):
        starts = [loop.host_ns for loop in loops]
        body(loops, step)
        for loop, start in zip(loops, starts, strict=True):
            loop.main.push(start, loop.host_ns, "decode")
            loop.host_ns += 2 * US
    return loops[0].trace


def reduce_together(loops: Sequence[Loop], ns: int) -> None:
    """A collective that ends everywhere `ns` after the last one has come."""
    done = max(loop.gpu_ns for loop in loops) + ns
    for loop in loops:
        loop.kernel(done - loop.gpu_ns, ALL_REDUCE)


def shaped(m: int, n: int, each_us: int) -> Callable[[Random], TraceBuilder]:
    """A loop whose products say their shapes, m × 4,096 by 4,096 × n, and take about `each_us`."""

    def make(random: Random) -> TraceBuilder:
        def body(loop: Loop) -> None:
            for _ in range(STEP_KERNELS):
                start = loop.host_ns
                loop.host_ns += US
                loop.kernel(random.randrange(95, 105) * each_us * US // 100)
                loop.main.push(start, loop.host_ns, f"aten::mm, seq = 1, sizes = [[{m}, 4096], [4096, {n}]]")
                loop.host_ns += US

        return Loop(random).steps(body)

    return make


def hooked(each_us: int) -> Callable[[Random], TraceBuilder]:
    """A loop in which nsys hooks into a library for `each_us` in each step, and the GPU waits."""

    def make(random: Random) -> TraceBuilder:
        def body(loop: Loop) -> None:
            for _ in range(STEP_KERNELS):
                loop.kernel(random.randrange(80, 120) * US)
            loop.synchronize()
            ns = random.randrange(8 * each_us, 12 * each_us) * US // 10
            name = loop.trace.string("dlopen(libnvrtc.so.13)")
            at = loop.host_ns
            for end in (at + ns, at + ns // 2):
                # one inside the other
                loop.trace.row(
                    "PROFILER_OVERHEAD", start=at, end=end, globalTid=loop.main.global_tid, nameId=name, returnValue=0
                )
            loop.python(ns)

        return Loop(random).steps(body)

    return make


def clocked(mhz: int) -> Callable[[Random], TraceBuilder]:
    """The healthy loop on a GPU with a boost clock of 1,980 MHz that is sampled at about `mhz`."""

    def make(random: Random) -> TraceBuilder:
        trace = healthy(random)
        names = ("SMs Active [Throughput %]", "GPC Clock Frequency [MHz]")
        for metric, name in enumerate(names):
            trace.row("TARGET_INFO_GPU_METRICS", typeId=1 << 48, sourceId=1 << 48, metricId=metric, metricName=name)
        for index in range(STEPS * STEP_KERNELS):
            # nsys says MHz and means Hz
            for metric, value in enumerate((90, (mhz + random.randrange(-15, 15)) * 1_000_000)):
                trace.row("GPU_METRICS", timestamp=100 * US * index, typeId=1 << 48, metricId=metric, value=value)
        return trace

    return make


def modelled(
    phase: str, tokens: tuple[int, int], each_us: int, *, request: bool = False
) -> Callable[[Random], TraceBuilder]:
    """Passes of Llama 3.2 1B of `each_us` on the GPU, all in one request if asked for."""

    def make(random: Random) -> TraceBuilder:
        loop = Loop(random)

        def body(loop: Loop) -> None:
            for _ in range(STEP_KERNELS):
                loop.kernel(random.randrange(95, 105) * each_us * US // 100 // STEP_KERNELS)

        trace = loop.steps(body, phase=phase, tokens=tokens)
        if request:
            loop.main.push(0, loop.host_ns, "request", domain="llmperf")
        return trace

    return make


def nodes_apart(gap_us: int) -> Callable[[Random], TraceBuilder]:
    """Each step is a CUDA graph; its nodes of 100 µs start `gap_us` after each other."""

    def make(random: Random) -> TraceBuilder:
        return Loop(random).steps(lambda loop: loop.nodes(100 * US, gap_us * US, STEP_KERNELS))

    return make


def on_two_gpus(*, turns: bool) -> Callable[[Random], TraceBuilder]:
    """Half of each step's kernels run on one GPU, and half on another: one after the other, or side by side."""

    def make(random: Random) -> TraceBuilder:
        loop = Loop(random)
        loop.trace.gpu(1)

        def body(loop: Loop) -> None:
            start = loop.gpu_ns
            for loop.device in (0, 1):
                if not turns:
                    loop.gpu_ns = start
                for _ in range(STEP_KERNELS // 2):
                    loop.kernel(random.randrange(95, 105) * US)

        return loop.steps(body)

    return make


#: Planted cause → the trace that has it, and the finding that a reader should see first; None: no finding at all.
CAUSES: dict[str, tuple[Callable[[Random], TraceBuilder], str | None]] = {
    "nothing": (healthy, None),
    "slow host code": (slow_host, "host_bound_steps"),
    "slow launching calls": (slow_launches, "launch_bound_steps"),
    "layers on two GPUs": (on_two_gpus(turns=True), "gpus_take_turns"),
    "half of a batch on each of two GPUs": (on_two_gpus(turns=False), None),
    "nodes of graphs that wait for each other": (nodes_apart(12), "gaps_in_graphs"),
    "nodes of graphs close to each other": (nodes_apart(1), None),
    "a library loaded in each step": (loading, "loading_in_steps"),
    "memory allocated in each step": (allocating, "allocations_in_steps"),
    "`.item()` in the loop": (item_in_the_loop, "synchronizing_calls"),
    "pageable inputs": (pageable_inputs, "pageable_copies"),
    "pinned inputs": (pinned_inputs, None),
    "weights copied before each layer": (offloaded(beside=False), "exposed_copies"),
    "weights copied beside the layer before": (offloaded(beside=True), None),
    "calls that ask before each launch": (asking, "calls_in_steps"),
    "casts beside products": (named(COPY, 60 * US, 2), "copying_kernels"),
    "a few casts": (named(COPY, 10 * US, 10), None),
    "short kernels": (small, "small_kernels"),
    "fp32 products": (named("ampere_sgemm_128x64_tn", 300 * US, 2), "gemms_without_tensor_cores"),
    "fp32 products of cuBLAS": (
        named("sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize256x128x8_stage3_ffma_aligna4_alignc4", 300 * US, 2),
        "gemms_without_tensor_cores",
    ),
    "TF32 products": (named("sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize128x128x16", 300 * US, 2), None),
    "an odd vocabulary": (
        named("cutlass_80_tensorop_bf16_s16816gemm_bf16_128x64_32x6_tn_align1", 300 * US, 4), "unaligned_gemms",
    ),
    "aligned products": (named("cutlass_80_tensorop_bf16_s16816gemm_bf16_128x64_32x6_tn_align8", 300 * US, 4), None),
    "attention of a few blocks": (few_blocks(8), "few_blocks"),
    "attention of many blocks": (few_blocks(128), None),
    "attention of a few blocks beside products": (few_blocks(8, beside=True), None),
    # 1,024 × 4,096 × 4,096 take 35 µs at 989 TFLOP/s.
    "products at a seventh of the peak": (shaped(1_024, 4_096, 250), "slow_products"),
    "products at two thirds of the peak": (shaped(1_024, 4_096, 53), None),
    "short products": (shaped(8, 64, 9), None),
    "experts of one rank chosen twice as often": (hot_experts(2), "uneven_experts"),
    "experts chosen evenly": (hot_experts(1), None),
    "experts of ranks that wait for nobody": (hot_experts(2, waits=False), None),
    "nsys at work in each step": (hooked(200), "profiler_overhead"),
    "nsys at work for a moment": (hooked(20), None),
    "a GPU held at 1,410 MHz": (clocked(1_410), "slow_clocks"),
    "a GPU near its boost clock": (clocked(1_935), None),
    "input that a training step waits for": (training(waits=True), "idle_outside_passes"),
    "input behind the step before": (training(waits=False), None),
    "eager attention": (eager_attention, "eager_attention"),
    "exposed communication": (rank_in_a_ring, "exposed_communication"),
    "a slow rank": (late_rank, "late_rank"),
    "compute slowed by communication": (beside_communication(140), "slowed_by_overlap"),
    "compute beside communication": (beside_communication(100), None),
    # Weights take 0.74 ms at peak; 300,000 cached tokens 2.9 ms; 64 tokens 0.13 ms of FLOPs, 4,096 of them 9 ms.
    "a batch of one": (modelled("decode", (1, 512), 1_200), "small_decode_batch"),
    "a long context": (modelled("decode", (1, 300_000), 5_000), "kv_cache_traffic"),
    "small chunks of a prompt": (modelled("prefill", (64, 512), 1_500, request=True), "small_prefill_chunks"),
    "large chunks of a prompt": (modelled("prefill", (4_096, 4_096), 20_000, request=True), None),
}  # fmt: skip
#: Those whose model is known: all of Llama 3.2 1B.
MODELLED = {name for name in CAUSES if "batch of one" in name or "context" in name or "chunks" in name}


def options_of(planted: str) -> AnalysisOptions:
    """What the analysis of a planted cause is told."""
    return AnalysisOptions(model=load_model("llama-3.2-1b") if planted in MODELLED else None)
