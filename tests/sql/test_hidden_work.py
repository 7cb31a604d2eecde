"""What findings about kernels and copies promise at most: time in which nothing else runs on the GPU, ns by ns."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

US = 1_000
NAMES = {
    "CatArrayBatchedCopy": "copying",
    "ampere_sgemm_128x64_tn": "plain",
    "vectorized_layer_norm_kernel": "small",
    "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT": None,
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL": None,
}


@pytest.mark.parametrize("seed", range(4))
def test_exposed_time_agrees_with_counting_each_ns(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 1500, "forward").push(1500, 5000, "backward")
    works: list[tuple[int, int, int, str, str | None]] = []  # GPU, start, end, phase, what
    for at in range(60):
        # launches of the second half lie in backward, whenever their kernels run
        call, phase = (20 * at, "forward") if at < 30 else (1500 + 20 * at, "backward")
        device, start = random.randrange(2), call + random.randrange(1, 400)
        end = start + random.randrange(1, 120)
        if random.random() < 0.2:
            main.memcpy(call, (start, end), device=device, stream=20, srcKind=1, dstKind=2, copyKind=1)
            works.append((device, start, end, phase, "pinned copy"))
        else:
            name = random.choice(list(NAMES))
            main.launch(call, gpu=(start, end), name=name, device=device, stream=random.randrange(3))
            works.append((device, start, end, phase, NAMES[name]))
    expected: dict[tuple[str, str], int] = {}
    for device in (0, 1):
        for ns in range(max(work[2] for work in works)):
            running = {work[3:] for work in works if work[0] == device and work[1] <= ns < work[2]}
            if len(running) == 1:
                ((phase, what),) = running
                if what is not None:
                    expected[what, phase] = expected.get((what, phase), 0) + 1

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("attribute.suspects", "attribute.phase_spending")
        found = opened.connection.execute("SELECT what, phase, exposed_ns, time_ns FROM attribute.suspects").fetchall()
        budget = dict(
            opened.connection.execute("SELECT phase, compute_ns + copy_ns FROM attribute.phase_spending").fetchall()
        )

    assert len(found) >= 5
    for what, phase, exposed, time in found:
        assert exposed == expected.get((what, phase), 0) <= time
    for phase, spent in budget.items():
        assert sum(exposed for _, name, exposed, _ in found if name == phase) <= spent


def test_what_another_stream_hides_is_not_at_stake(tmp_path: Path) -> None:
    """Ten steps: 200 µs of a product beside 150 µs of casts that it hides, then 100 µs of casts alone."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(10):
        at = 400 * step * US
        main.push(at, at + 30 * US, "decode")
        main.launch(at, gpu=(at + 10 * US, at + 210 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(at + 5 * US, gpu=(at + 20 * US, at + 170 * US), name="CatArrayBatchedCopy", stream=8)
        main.launch(at + 8 * US, gpu=(at + 210 * US, at + 310 * US), name="CatArrayBatchedCopy", stream=8)

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "copying_kernels"]

    assert told.at_stake_ns == 10 * 100 * US


def test_of_eager_attention_what_another_stream_hides_is_not_at_stake(tmp_path: Path) -> None:
    """Four layers of 100 µs each: scores, softmax and a product; a collective runs beside the last 60 µs of them."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 400 * US, "prefill")
    for layer in range(4):
        at = 100 * layer * US
        main.launch(at, gpu=(at + 10 * US, at + 40 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(at + 1, gpu=(at + 40 * US, at + 70 * US), name="cunn_SoftMaxForward")
        main.launch(at + 2, gpu=(at + 70 * US, at + 100 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(
            at + 3, gpu=(at + 40 * US, at + 100 * US), name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", stream=8
        )

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "eager_attention"]

    assert told.at_stake_ns == 4 * 30 * US


def test_of_few_blocks_what_another_stream_hides_is_not_at_stake(tmp_path: Path) -> None:
    """Ten steps: a product hides 40 of 100 µs of attention in 8 blocks for 132 SMs."""
    trace = TraceBuilder().gpu(sm_count=132)
    main = trace.process().thread()
    for step in range(10):
        at = 400 * step * US
        main.push(at, at + 30 * US, "decode")
        main.launch(at, gpu=(at + 10 * US, at + 270 * US), name="nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT")
        main.launch(at + 5, gpu=(at + 230 * US, at + 330 * US), name="flash_fwd_kernel", stream=8, gridX=8)

    (told,) = [one for one in report_of(trace, tmp_path).findings if one.code == "few_blocks"]

    # of 100 µs, the SMs without a block are 94 %
    assert told.at_stake_ns == 10 * 60 * US
