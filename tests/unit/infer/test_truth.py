"""Inferred phases of real traces without their ranges, against the ranges."""

from __future__ import annotations

import pytest

from scripts.inference_truth import Score, compare, scores, table
from tests.support.real_traces import LOOP_TRACES, SUFFIX, TRACES

# Phase → (marked, found, named, unnamed). The rest is in docs/inference.md.
EXPECTED = {
    "h100_auto_generate": {"decode": (3, 3, 0, 3), "prefill": (1, 1, 0, 1)},
    "h100_cuda_graph_node": {"decode": (32, 32, 32, 0), "prefill": (1, 1, 1, 0)},
    "h100_cuda_graph_whole": {"decode": (32, 32, 32, 0), "prefill": (1, 1, 1, 0)},
    "h100_deepseek_layers": {"decode": (2, 2, 2, 0), "prefill": (1, 1, 1, 0)},
    "h100_flash_attention_4": {"decode": (2, 2, 2, 0), "prefill": (1, 1, 1, 0)},
    "h100_mixtral_small": {"decode": (26, 26, 26, 0), "prefill": (2, 2, 2, 0)},
    "h100_torch_compile": {"decode": (3, 3, 3, 0), "prefill": (1, 1, 1, 0)},
    "h100_train": {"backward": (3, 3, 3, 0), "forward": (3, 3, 3, 0), "optimizer": (3, 3, 3, 0)},
    "h200_vllm_serve": {"decode": (113, 113, 113, 0), "mixed": (9, 9, 0, 9), "prefill": (2, 2, 0, 2)},
}
#: The same of tests/loops, small programs of plain PyTorch: training of a CNN that is evaluated now and then,
#: generation with a static cache and CUDA graphs, inference that never waits. An evaluation is of no phase.
LOOPS = {
    "h200_cnn_eval": {
        "backward": (60, 60, 60, 0), "evaluation": (6, 0, 0, 0),
        "forward": (60, 60, 60, 0), "optimizer": (60, 60, 60, 0),
    },
    "h200_generate_static": {"decode": (138, 138, 137, 1), "prefill": (6, 6, 6, 0)},
    "h200_infer_async": {"step": (80, 80, 80, 0)},
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_launches_of_small_loops_tell_what_their_ranges_say(name: str) -> None:
    found = scores(LOOP_TRACES / f"{name}{SUFFIX}")

    assert {one.phase: (one.marked, one.found, one.named, one.unnamed) for one in found} == LOOPS[name]
    assert all(one.wrong == 0 for one in found)


@pytest.mark.parametrize("name", EXPECTED)
def test_launches_tell_again_what_the_ranges_say(name: str) -> None:
    found = scores(TRACES / f"{name}{SUFFIX}")

    assert {one.phase: (one.marked, one.found, one.named, one.unnamed) for one in found} == EXPECTED[name]
    assert all(one.wrong == 0 and one.recall > 0.99 and one.precision > 0.99 for one in found)


def test_the_comparison_counts_what_is_split_merged_and_misnamed() -> None:
    truth = {op: (op // 10, "decode") for op in range(30)}
    inferred = {op: (100 + op // 10, "decode") for op in range(10)}
    # The second is split, the third is called something else and holds half of the second.
    inferred |= dict.fromkeys(range(10, 15), (102, "decode")) | dict.fromkeys(range(15, 30), (103, "prefill"))

    (score,) = compare("x", truth, inferred)

    assert score == Score(
        "x", "decode", marked=3, found=1, named=2, wrong=1, launches=30, right_launches=25, held_launches=30
    )
    assert "| `x` | decode | 3 | 1 | 0.833 | 0.833 | 2 | 0 | 1 |" in table([score])
