"""Small traces, one for each way in which attribution goes wrong, by name in EDGE_TRACES.

Every function returns a builder that has not been written yet. What each trace has to give is in
``tests/unit/test_reference.py``, in literal numbers; other engines are compared with the reference over this list.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.support.nsys_schema import GENERATIONS
from tests.support.trace_builder import TraceBuilder

OWN = "llmperf"
EDGE_TRACES: dict[str, Callable[[], TraceBuilder]] = {}


def _edge(make: Callable[[], TraceBuilder]) -> Callable[[], TraceBuilder]:
    EDGE_TRACES[make.__name__] = make
    return make


# -- processes and threads -------------------------------------------------------------------------------------------


@_edge
def two_processes_with_equal_correlation_ids() -> TraceBuilder:
    """Correlation ids restart in every process: a join without the process doubles both kernels."""
    trace = TraceBuilder()
    first, second = trace.process(100).thread(), trace.process(200).thread()
    first.push(0, 50, "prefill").launch(10, gpu=(20, 30))
    second.push(0, 50, "decode").launch(12, gpu=(20, 60), device=1)
    return trace


@_edge
def one_pid_in_two_virtual_machines() -> TraceBuilder:
    """Equal pid and tid, different <vm> byte: still two processes."""
    trace = TraceBuilder()
    first, second = trace.process(100, vm=1).thread(), trace.process(100, vm=2).thread()
    first.push(0, 50, "prefill").launch(10, gpu=(20, 30))
    second.push(0, 50, "decode").launch(12, gpu=(20, 60))
    return trace


@_edge
def one_name_on_two_threads() -> TraceBuilder:
    """Both threads are in a range called decode; each launch belongs to the range of its own thread."""
    trace = TraceBuilder()
    process = trace.process()
    main, worker = process.thread(), process.thread(101)
    main.push(0, 100, "decode").launch(20, gpu=(30, 40), stream=7)
    worker.push(10, 60, "decode").launch(21, gpu=(30, 50), stream=8)
    return trace


@_edge
def autograd_thread() -> TraceBuilder:
    """Backward kernels come from a thread without phases, while exactly one phase of the process is open."""
    trace = TraceBuilder()
    process = trace.process()
    main, autograd = process.thread(), process.thread(101)
    main.push(0, 100, "step").push(0, 40, "forward").push(50, 100, "backward").launch(10, gpu=(20, 30))
    autograd.launch(60, gpu=(70, 80))
    autograd.push(62, 66, "radix_sort", domain="CCCL").launch(63, gpu=(80, 85))
    autograd.launch(45, gpu=(90, 95))
    return trace


@_edge
def other_thread_with_two_open_phases() -> TraceBuilder:
    """Two phases are open in the process: neither can be given the third thread's kernel."""
    trace = TraceBuilder()
    process = trace.process()
    process.thread().push(0, 100, "prefill")
    process.thread(101).push(0, 100, "decode")
    process.thread(102).launch(50, gpu=(60, 70))
    return trace


@_edge
def other_process_with_an_open_phase() -> TraceBuilder:
    """An open phase of another process explains nothing."""
    trace = TraceBuilder()
    trace.process(100).thread().push(0, 100, "prefill")
    trace.process(200).thread().launch(50, gpu=(60, 70))
    return trace


@_edge
def pid_that_was_used_twice() -> TraceBuilder:
    """The second process of a pid counts its correlation ids from 1 again: each call belongs to the kernel after it."""
    trace = TraceBuilder()
    for at in (0, 1000):
        main = trace.process(100).thread()
        main.push(at, at + 50, "prefill" if at == 0 else "decode")
        main.launch(at + 10, gpu=(at + 20, at + 30)).launch(at + 15, gpu=(at + 30, at + 33))
    return trace


@_edge
def ids_with_all_bits() -> TraceBuilder:
    """Hardware and VM bits are part of a thread's id; with the top bit set it is negative in SQLite."""
    trace = TraceBuilder()
    first, second = trace.process(100, vm=255, hw=200).thread(), trace.process(100, vm=255, hw=7).thread()
    first.push(0, 50, "prefill", domain=OWN).launch(10, gpu=(20, 30))
    second.push(0, 50, "decode", domain=OWN).launch(12, gpu=(30, 60))
    return trace


@_edge
def process_without_a_name() -> TraceBuilder:
    """PROCESSES has its row and no name in it."""
    trace = TraceBuilder()
    trace.process(100, name=None).thread().push(0, 50, "prefill").launch(10, gpu=(20, 30))
    return trace


# -- nesting ---------------------------------------------------------------------------------------------------------


@_edge
def three_deep_in_two_domains() -> TraceBuilder:
    """request > prefill > layer.0.attn of domain llmperf, and a library's range inside: all climb to prefill."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "request", domain=OWN).push(10, 60, "prefill", domain=OWN)
    main.push(20, 40, "layer.0.attn", domain=OWN).push(25, 35, "ncclAllReduce", domain="NCCL")
    main.launch(5, gpu=(6, 8)).launch(15, gpu=(20, 22)).launch(22, gpu=(25, 28)).launch(30, gpu=(31, 36))
    return trace


@_edge
def phase_inside_a_phase() -> TraceBuilder:
    """The innermost phase wins; time in the outer phase only is the outer one's."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "prefill").push(20, 60, "Decode step 1").launch(30, gpu=(40, 50)).launch(70, gpu=(80, 95))
    return trace


@_edge
def forward_inside_prefill() -> TraceBuilder:
    """A model's forward inside a prefill is a part of it; alone, it is a phase."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "prefill").push(20, 40, "Forward").launch(30, gpu=(40, 50))
    main.push(60, 90, "Forward").launch(70, gpu=(80, 95))
    return trace


@_edge
def loops_around_steps() -> TraceBuilder:
    """What encloses ranges of its own phase is a loop, however deep; what it launches itself is in no phase."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 10, "prefill").push(20, 200, "decode_all").push(30, 190, "DECODE_LOOP")
    for at in (40, 80, 120):
        main.push(at, at + 30, f"decode_step_{at}", domain="serving" if at == 80 else None)
        main.launch(at + 10, gpu=(at + 100, at + 110))
    main.launch(5, gpu=(10, 11)).launch(25, gpu=(30, 33)).launch(75, gpu=(300, 305)).launch(195, gpu=(400, 407))
    return trace


@_edge
def start_end_range_around_steps() -> TraceBuilder:
    """A start/end range may be a loop, too; those that overlap are requests side by side."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.start_end(0, 100, "decode_loop").push(10, 20, "decode").launch(15, gpu=(20, 25)).launch(50, gpu=(60, 61))
    main.start_end(200, 300, "prefill").start_end(210, 290, "prefill").launch(220, gpu=(230, 233))
    return trace


@_edge
def our_own_mark_and_another() -> TraceBuilder:
    """Our own range is the occurrence, whether another one of the same phase is inside it or around it."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "decode", domain=OWN).push(10, 90, "Decode step 3").launch(20, gpu=(30, 31))
    main.push(200, 300, "decode").push(210, 290, "decode", domain=OWN).launch(220, gpu=(230, 233))
    main.push(400, 500, "decode", domain=OWN).push(410, 490, "prefill").launch(420, gpu=(430, 437))
    return trace


@_edge
def steps_of_an_engine() -> TraceBuilder:
    """Inside our own mark an engine's step is a part, of whatever kind; inside a loop of its phase it is the step."""
    trace = TraceBuilder()
    main = trace.process().thread()
    text = "execute_context_0(0)_generation_8(8)"
    main.push(0, 100, "verify", domain=OWN).push(10, 90, text).launch(20, gpu=(30, 31))
    main.push(200, 400, "decode_all").push(210, 250, text).push(260, 290, text)
    main.launch(220, gpu=(230, 233)).launch(270, gpu=(280, 287))
    main.push(500, 600, "prefill").push(510, 590, text).launch(520, gpu=(530, 545))
    return trace


@_edge
def rest_of_a_step() -> TraceBuilder:
    """A step has what it launches beside its parts; its wall time is what they leave."""
    trace = TraceBuilder()
    main = trace.process().thread()
    for at in (0, 1000):
        main.push(at, at + 500, f"train_step {at}").push(at + 100, at + 200, "forward")
        main.push(at + 300, at + 400, "backward").launch(at + 110, gpu=(at + 120, at + 121))
        main.launch(at + 310, gpu=(at + 320, at + 323))
    main.launch(250, gpu=(260, 265)).launch(600, gpu=(610, 617))
    return trace


@_edge
def step_inside_the_optimizer() -> TraceBuilder:
    """A step is no phase inside another one, and a step that only groups is none where no such step has work."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "step 1").push(10, 40, "forward").push(50, 90, "optimizer").push(60, 80, "step")
    main.launch(20, gpu=(30, 31)).launch(70, gpu=(80, 83))
    return trace


@_edge
def step_that_starts_with_its_part() -> TraceBuilder:
    """Of two ranges that start together the one that ends first is the inner one."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "step").push(0, 40, "forward").launch(10, gpu=(20, 21)).launch(50, gpu=(60, 63))
    return trace


@_edge
def warmup_without_phases() -> TraceBuilder:
    """A warm-up in which no phase starts is a phase itself, the outermost of those inside each other."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 90, "Warm Up").push(10, 40, "Warm-up Step 1").push(50, 80, "Warm-up Step 2")
    main.launch(5, gpu=(100, 101)).launch(20, gpu=(101, 103)).launch(60, gpu=(103, 107))
    main.push(200, 300, "warmup").push(210, 240, "warmup_1").push(220, 230, "prefill").push(250, 290, "warmup_2")
    main.launch(205, gpu=(300, 308)).launch(225, gpu=(308, 324)).launch(260, gpu=(324, 356))
    main.push(400, 450, "prefill").launch(410, gpu=(420, 484))
    return trace


@_edge
def data_loader_with_ranges() -> TraceBuilder:
    """Another thread's ranges say whose its work is: the loader's stray launch is no work of the optimizer, either."""
    trace = TraceBuilder()
    process = trace.process()
    main, loader = process.thread(), process.thread(101)
    main.push(0, 100, "optimizer").launch(10, gpu=(20, 21))
    for at in (20, 40, 60):
        loader.push(at, at + 10, "[DALI][Executor] Run").launch(at + 5, gpu=(at + 100, at + 103))
    loader.launch(90, gpu=(300, 307))
    return trace


@_edge
def helper_with_a_range() -> TraceBuilder:
    """Where most launches of a thread are in no range of its own, they are the phase's, but for those that are."""
    trace = TraceBuilder()
    process = trace.process()
    main, helper = process.thread(), process.thread(101)
    main.push(0, 100, "prefill")
    helper.push(10, 20, "load batch").launch(15, gpu=(20, 21)).launch(30, gpu=(40, 43)).launch(50, gpu=(60, 67))
    return trace


@_edge
def libraries_on_another_thread() -> TraceBuilder:
    """Ranges of NCCL, also where its domain is not known, and of our own layers are no ranges of the thread's own."""
    trace = TraceBuilder()
    process = trace.process()
    main, helper = process.thread(), process.thread(101)
    main.push(0, 100, "backward")
    helper.push(10, 20, "ncclAllReduce", domain="NCCL").launch(15, gpu=(20, 21))
    helper.push(30, 40, "ncclAllGather", domain="unknown").launch(35, gpu=(40, 43))
    helper.push(50, 60, "layer.0.mlp", domain=OWN).launch(55, gpu=(60, 67))
    return trace


@_edge
def autograd_by_name_and_by_range() -> TraceBuilder:
    """What autograd's threads launch is the phase's, whatever ranges hooks open there."""
    trace = TraceBuilder()
    process = trace.process()
    main, named, ranged = process.thread(), process.thread(101, name="pt_autograd_0"), process.thread(102)
    main.push(0, 100, "backward")
    named.push(10, 20, "my hook").launch(15, gpu=(20, 21))
    ranged.push(30, 50, "MulBackward0").push(35, 45, "my hook").launch(40, gpu=(50, 53))
    return trace


@_edge
def checkpointed_forward() -> TraceBuilder:
    """A forward that runs again inside a backward is a part of it, on the same thread and on autograd's."""
    trace = TraceBuilder()
    process = trace.process()
    main, autograd = process.thread(), process.thread(101)
    main.push(0, 50, "forward").push(100, 300, "backward").push(110, 130, "forward")
    main.launch(10, gpu=(20, 21)).launch(120, gpu=(130, 133))
    autograd.push(140, 160, "forward").launch(150, gpu=(160, 167)).launch(180, gpu=(190, 205))
    return trace


@_edge
def other_engine_beside_a_backward() -> TraceBuilder:
    """A thread with a forward outside of every backward runs something else: its phases are its own."""
    trace = TraceBuilder()
    process = trace.process()
    main, rollout = process.thread(), process.thread(101)
    main.push(0, 200, "backward").launch(10, gpu=(20, 21))
    rollout.push(50, 60, "forward").launch(55, gpu=(60, 63)).push(190, 250, "forward").launch(195, gpu=(200, 207))
    rollout.launch(100, gpu=(110, 125))
    return trace


@_edge
def ranges_of_two_domains_that_cross() -> TraceBuilder:
    """Domains have stacks of their own, so ranges may cross: after decode closed, only the library's range is open."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "decode").push(30, 90, "ncclGroup", domain="NCCL")
    main.launch(40, gpu=(45, 55)).launch(70, gpu=(75, 80))
    return trace


@_edge
def ranges_that_touch() -> TraceBuilder:
    """Bounds are inclusive; a call at the instant of pop and push belongs to the range that starts."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(10, 20, "prefill").push(20, 30, "decode")
    main.launch(10, gpu=(40, 41)).launch(20, gpu=(41, 43)).launch(30, gpu=(43, 47)).launch(31, gpu=(47, 55))
    return trace


@_edge
def ranges_that_start_together() -> TraceBuilder:
    """Equal starts: the one that ends first is the inner one, in whatever order the rows come."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(10, 20, "decode").push(10, 50, "prefill").launch(10, gpu=(60, 70)).launch(30, gpu=(70, 90))
    return trace


@_edge
def pushes_that_were_never_popped() -> TraceBuilder:
    """One is closed by its parent's end, one (alone in its domain) stays open until the session ends at 500."""
    trace = TraceBuilder().session(500)
    main = trace.process().thread()
    main.push(0, 100, "request").push(20, None, "prefill")
    main.push(200, None, "decode", domain=OWN)
    main.launch(50, gpu=(60, 70)).launch(150, gpu=(160, 170)).launch(300, gpu=(310, 330))
    return trace


@_edge
def lost_pop_beside_a_sibling_and_under_another_domain() -> TraceBuilder:
    """Only a range of the same domain that is open around the push can close it: no sibling, no other stack."""
    trace = TraceBuilder().session(500)
    main = trace.process().thread()
    main.push(0, 100, "request").push(10, 20, "prefill").push(20, None, "decode")
    main.push(30, None, "speculate", domain=OWN)
    main.launch(25, gpu=(60, 70)).launch(90, gpu=(100, 120)).launch(300, gpu=(310, 340))
    return trace


@_edge
def start_end_ranges_are_an_overlay() -> TraceBuilder:
    """A start/end phase names work that no push/pop phase encloses, and takes nothing from one that does.

    A start/end range that is no phase is still a range: the reason is no_phase.
    """
    trace = TraceBuilder()
    main = trace.process().thread()
    main.start_end(0, 100, "decode").push(20, 40, "prefill").push(50, 60, "sample").start_end(150, 160, "load")
    main.launch(10, gpu=(200, 210)).launch(30, gpu=(210, 230)).launch(55, gpu=(230, 270)).launch(155, gpu=(270, 280))
    return trace


@_edge
def start_end_range_that_ends_on_another_thread() -> TraceBuilder:
    """It belongs to the thread that started it; the other thread's launch is other-thread work."""
    trace = TraceBuilder()
    process = trace.process()
    main, worker = process.thread(), process.thread(101)
    main.start_end(0, 100, "decode", ended_by=worker).launch(10, gpu=(20, 30))
    worker.launch(50, gpu=(60, 80))
    return trace


@_edge
def warmup_of_our_own_domain() -> TraceBuilder:
    """Phases inside warmup are flagged; warmup and request are no phases themselves."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "warmup", domain=OWN).push(5, 95, "request", domain=OWN)
    main.push(10, 50, "prefill", domain=OWN).push(60, 90, "decode", domain=OWN)
    main.push(200, 250, "prefill", domain=OWN)
    main.launch(7, gpu=(8, 9)).launch(20, gpu=(30, 40)).launch(70, gpu=(80, 85)).launch(210, gpu=(220, 260))
    return trace


@_edge
def warmup_of_another_thread() -> TraceBuilder:
    """A warm-up of another thread flags nothing here; one in the default domain is as good as ours."""
    trace = TraceBuilder()
    process = trace.process()
    process.thread().push(0, 100, "warmup", domain=OWN).push(10, 20, "prefill", domain=OWN).launch(15, gpu=(20, 30))
    process.thread(101).push(30, 40, "prefill", domain=OWN).launch(35, gpu=(40, 50))
    process.thread(102).push(45, 90, "warmup").push(50, 60, "prefill").launch(55, gpu=(60, 70))
    return trace


@_edge
def spellings_of_other_people() -> TraceBuilder:
    """The index is an occurrence and no name; texts that only contain a phase's name are none."""
    trace = TraceBuilder()
    main = trace.process().thread()
    texts = (
        "PREFILL", "[Prefill]", "Prefill token 3", "LLM@prefill", "DECODE_STEP_007", "Decode step 3", "decode_all",
        "Forward", "optimizer", "predecode", "prefill_cache_lookup", "decoder.layers.3",
    )  # fmt: skip
    for index, text in enumerate(texts):
        at = 100 * index
        main.push(at, at + 50, text).launch(at + 10, gpu=(at + 20, at + 21 + index))
    return trace


@_edge
def user_phases_in_our_domain() -> TraceBuilder:
    """In domain llmperf every name is a phase but the structural ones; in a foreign domain only known spellings are."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "speculate", domain=OWN).push(100, 150, "speculate", domain="serving")
    main.push(200, 250, "vision.encoder", domain=OWN).push(300, 350, "decode", domain="serving")
    main.launch(10, gpu=(20, 30)).launch(110, gpu=(120, 140)).launch(210, gpu=(220, 250)).launch(310, gpu=(320, 360))
    return trace


@_edge
def marks_are_no_ranges() -> TraceBuilder:
    """A mark called decode at the very instant of a launch encloses nothing."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.mark(10, "decode").mark(10, "llmperf.step {}", domain=OWN).launch(10, gpu=(20, 30))
    return trace


# -- GPU time --------------------------------------------------------------------------------------------------------


@_edge
def kernel_ends_after_its_range() -> TraceBuilder:
    """The prefill's kernel runs while the host is in decode: attribution is by launch, never by GPU time."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 20, "prefill").push(25, 40, "decode")
    main.launch(10, gpu=(30, 90)).launch(30, gpu=(90, 100))
    return trace


@_edge
def call_that_ends_after_its_range() -> TraceBuilder:
    """The start of the call decides, also for a call that was still running when its range closed."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 20, "prefill").launch(15, until=40, gpu=(30, 50))
    return trace


@_edge
def overlapping_streams_on_two_devices() -> TraceBuilder:
    """Busy is the union of intervals per device: 40 + 10 on device 0, 30 on device 1; Σ is 60 + 30."""
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread()
    main.push(0, 100, "decode")
    main.launch(10, gpu=(100, 130), stream=7).launch(12, gpu=(120, 140), stream=8).launch(14, gpu=(150, 160), stream=7)
    main.launch(16, gpu=(100, 130), device=1)
    return trace


@_edge
def work_of_every_kind() -> TraceBuilder:
    """Copies and memsets are memory operations; a phase without GPU work still has its wall time."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 100, "prefill").push(200, 260, "decode")
    main.memcpy(10, gpu=(20, 25)).memset(30, gpu=(40, 43)).launch(50, gpu=(60, 60)).launch(70, gpu=(80, 90))
    return trace


@_edge
def only_copies() -> TraceBuilder:
    """No kernel, no range: two copies, one of them of unified memory, which no call asks for."""
    trace = TraceBuilder()
    process = trace.process()
    process.thread().memcpy(10, gpu=(20, 25))
    process.memcpy((30, 37), correlation=None, kind=11)
    return trace


@_edge
def migrations_of_unified_memory() -> TraceBuilder:
    """Page migrations (copyKind 11 to 13) overlap the kernel that faults; no call asked for them."""
    trace = TraceBuilder()
    process = trace.process()
    process.thread().push(0, 50, "prefill").launch(10, gpu=(20, 90))
    for kind, correlation in ((11, None), (12, 0), (13, None)):
        process.memcpy((10 * kind - 80, 10 * kind - 75), correlation=correlation, kind=kind)
    return trace


@_edge
def work_before_the_session() -> TraceBuilder:
    """Clocks are aligned afterwards: times may be negative."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(-100, 50, "prefill").launch(-90, gpu=(-80, -20)).launch(10, gpu=(-10, 30))
    return trace


@_edge
def times_since_1970() -> TraceBuilder:
    """`--ts-normalize` makes times count from 1970: 19 digits, more than a float holds."""
    trace = TraceBuilder()
    at = 1_700_000_000_123_456_789
    main = trace.process().thread()
    main.push(at, at + 50, "prefill").push(at + 50, at + 90, "decode")
    main.launch(at + 49, gpu=(at + 51, at + 52)).launch(at + 50, gpu=(at + 52, at + 55))
    return trace


@_edge
def a_thousand_streams() -> TraceBuilder:
    """Each kernel on a stream of its own, all at once."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 5000, "decode")
    for index in range(1100):
        main.launch(index, gpu=(6000, 6010), stream=index + 7)
    return trace


# -- launches --------------------------------------------------------------------------------------------------------


@_edge
def work_without_an_api_call() -> TraceBuilder:
    """Unknown correlation id, none at all, and one that only another process has."""
    trace = TraceBuilder()
    process, other = trace.process(100), trace.process(200)
    process.thread().push(0, 100, "prefill").launch(10, gpu=(20, 30))
    process.kernel((40, 50), correlation=77).memcpy((50, 55), correlation=None)
    other.kernel((60, 80), correlation=1)
    return trace


@_edge
def launch_outside_any_range() -> TraceBuilder:
    """Before, between and after the ranges, and in a range that is no phase."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(10, 20, "prefill").push(40, 50, "load_weights")
    main.launch(5, gpu=(100, 101)).launch(30, gpu=(101, 103)).launch(45, gpu=(103, 107)).launch(60, gpu=(107, 115))
    return trace


@_edge
def backtrace_duplicates() -> TraceBuilder:
    """--cudabacktrace: two API rows for one call must not make two kernels."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "decode").launch(10, gpu=(20, 30), backtrace=True).launch(15, gpu=(30, 35))
    return trace


@_edge
def correlation_id_zero() -> TraceBuilder:
    """0 is CUPTI's word for no correlation: what kernels launch has it, and so may calls that launch nothing."""
    trace = TraceBuilder()
    process = trace.process()
    main = process.thread()
    main.push(0, 50, "prefill")
    main.call(5, api="cudaGetDevice_v3020", correlation=0)
    main.call(7, api="cudaGetDevice_v3020", correlation=0)
    main.launch(10, gpu=(20, 40))
    process.kernel((22, 30), correlation=0)
    return trace


@_edge
def call_that_ends_before_it_starts() -> TraceBuilder:
    """The start of the call decides."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "prefill").launch(30, until=10, gpu=(40, 45)).launch(50, until=-1, gpu=(45, 47))
    return trace


@_edge
def graph_of_copies_traced_both_ways() -> TraceBuilder:
    """Nodes that copy and fill supersede the graph's own row, as kernels do."""
    trace = TraceBuilder()
    process = trace.process()
    main = process.thread()
    main.push(0, 100, "decode").graph_launch(10, gpu=(20, 60))
    process.memcpy((20, 30), correlation=1, graphNodeId=1 << 32).memset(
        (40, 60), correlation=1, graphNodeId=1 << 32 | 1
    )
    return trace


@_edge
def graph_traced_as_a_whole() -> TraceBuilder:
    """--cuda-graph-trace=graph: the GRAPH_TRACE row is all there is of decode."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "prefill").push(60, 100, "decode")
    main.launch(10, gpu=(20, 30)).graph_launch(70, gpu=(80, 200))
    return trace


@_edge
def graph_traced_by_node() -> TraceBuilder:
    """--cuda-graph-trace=node: node kernels carry the correlation id of their launch."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(60, 100, "decode").graph_launch(70, nodes=[(80, 100), (105, 150), (150, 200)])
    return trace


@_edge
def graph_traced_both_ways() -> TraceBuilder:
    """Node rows and the graph row of one launch never both count; a launch without nodes keeps its graph row."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "decode")
    main.graph_launch(10, gpu=(20, 60), nodes=[(20, 30), (40, 60)]).graph_launch(50, gpu=(70, 90))
    return trace


@_edge
def graph_created_at_a_negative_time() -> TraceBuilder:
    """CUDA_GRAPH_EVENTS may hold times before the session; nothing may be shifted or lost by them."""
    trace = TraceBuilder()
    main = trace.process().thread()
    trace.graph_creation(-500, -400, main)
    main.push(0, 50, "decode").graph_launch(10, gpu=(20, 30)).launch(40, gpu=(45, 46))
    return trace


# -- what exports lack -----------------------------------------------------------------------------------------------


@_edge
def no_global_pid() -> TraceBuilder:
    """GPU rows without globalPid, in a trace with one process: there is only one it can be."""
    return three_deep_in_two_domains().without_column("globalPid").without("PROCESSES")


@_edge
def no_global_pid_and_two_processes() -> TraceBuilder:
    """GPU rows without globalPid, in a trace with two processes: unknown stays unknown."""
    return two_processes_with_equal_correlation_ids().without_column("globalPid")


@_edge
def a_range_starts_in_the_nanosecond_in_which_a_phase_ends() -> TraceBuilder:
    """What is launched after that instant is in the range alone."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(17, 23, "prefill", domain="llmperf").push(23, 90, "request")
    main.launch(23, gpu=(24, 30)).launch(38, gpu=(54, 84))
    return trace


@_edge
def no_ranges_at_all() -> TraceBuilder:
    """No NVTX_EVENTS table."""
    trace = TraceBuilder()
    trace.process().thread().launch(10, gpu=(20, 30))
    return trace


@_edge
def no_gpu_work_at_all() -> TraceBuilder:
    """Ranges and calls, but no table with GPU work."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "prefill").call(10)
    return trace


@_edge
def nothing_at_all() -> TraceBuilder:
    """Metadata and nothing else."""
    return TraceBuilder()


@_edge
def text_that_is_not_utf8() -> TraceBuilder:
    """Latin-1 bytes in a range and in a kernel's name."""
    trace = TraceBuilder(registered=True)
    main = trace.process().thread()
    main.push(0, 50, "prefill").push(10, 40, "étape").launch(20, gpu=(30, 40), name="noyau_été")
    return trace.bad_bytes("étape", "étape".encode("latin-1")).bad_bytes("noyau_été", "noyau_été".encode("latin-1"))


@_edge
def texts_that_are_hard_to_print() -> TraceBuilder:
    """Empty, of several lines, of ten thousand characters, and with a terminal's escapes."""
    trace = TraceBuilder()
    main = trace.process(name="\x1b[2Jpython").thread()
    texts = ("", "two\nlines", "x" * 10_000, "\x1b[31mred\x1b[0m \x1b]0;title\x07", "tab\tand \u202e bidi")
    main.push(0, 1000, "prefill")
    for index, text in enumerate(texts):
        main.push(100 * index, 100 * index + 90, text, registered=index % 2 == 0)
        main.launch(100 * index + 10, gpu=(100 * index + 20, 100 * index + 30), name=text or "kernel")
    return trace


@_edge
def registered_and_plain_strings() -> TraceBuilder:
    """One range is named by textId, the other by text."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 50, "prefill", registered=True).push(60, 90, "decode", registered=False)
    main.launch(10, gpu=(20, 30)).launch(70, gpu=(80, 85))
    return trace


def _generation(schema: str) -> TraceBuilder:
    """The same run as each generation of nsys writes it."""
    trace = TraceBuilder(schema).gpu()
    main = trace.process().thread()
    main.push(0, 50, "prefill", domain=OWN).push(60, 100, "decode", domain=OWN)
    main.launch(10, gpu=(20, 30)).memcpy(40, gpu=(45, 47)).launch(70, gpu=(80, 120)).launch(110, gpu=(130, 135))
    trace.diagnostic("Number of CUDA events collected: 4.")
    return trace


EDGE_TRACES |= {f"nsys_{schema}": partial(_generation, schema) for schema in GENERATIONS}
