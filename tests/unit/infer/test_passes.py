"""Passes of generation: what is found, what it is called, and when nothing is."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from nsys_pipeline.infer import infer
from tests.unit.infer.lanes import BLOCKS, FEW, MANY, Lane, merged


def names(lane: Lane) -> dict[str, int]:
    return dict(Counter(one.phase for one in infer(lane.launches).phases))


def test_a_request_is_a_prefill_and_decode_steps() -> None:
    lane = Lane().request(500, 6).request(80, 4)

    found = infer(lane.launches)

    assert [one.phase for one in found.phases] == ["prefill", *["decode"] * 6, "prefill", *["decode"] * 4]
    assert {(one.unit, one.evidence) for one in found.phases if one.phase == "decode"} == {
        ("4 attention kernels, then arg-max or sampling", "one token of each sequence")
    }
    assert {one.score for one in found.phases} == {1.0}
    assert found.reason is None
    assert found.hierarchy == "4 attention kernels < 12 steps < 2 requests"


def test_a_prefill_and_the_steps_after_it_are_a_request() -> None:
    lane = Lane().step(500, samples=False).request(500, 6).request(80, 4).step(300).step(300)

    found = infer(lane.launches)

    spans = [(one.start_ns, one.end_ns) for one in found.phases]
    # Two chunks and six steps, four steps; prompts alone are none.
    assert [(one.start_ns, one.end_ns) for one in found.requests] == [
        (spans[0][0], spans[7][1]), (spans[8][0], spans[12][1]),
    ]  # fmt: skip


def test_steps_of_an_engine_are_of_no_request() -> None:
    lane = Lane().add("cache")
    for _ in range(3):
        lane.request(900, 9)
    assert infer(lane.launches).requests == ()


def test_a_step_ends_with_its_sampling_and_what_is_copied_to_the_host() -> None:
    lane = Lane().step(300)
    for _ in range(4):
        lane.step(1).add("to_host")
        lane.add("communication")
    ends = [one.end_ns for one in lane.launches if one.role == "to_host"]

    found = infer(lane.launches).phases

    assert [one.end_ns for one in found[1:]] == ends
    assert [after.start_ns for _, after in pairwise(found)] == [one.end_ns + 1 for one in found[:-1]]


def test_phases_of_a_thread_never_overlap() -> None:
    found = infer(Lane().request(500, 6).request(40, 3, sequences=2).launches).phases
    assert all(before.start_ns < before.end_ns < after.start_ns for before, after in pairwise(found))


def test_each_thread_is_cut_by_itself() -> None:
    one, two = Lane(1).request(500, 5), Lane(2, at=1_003).request(600, 7, layers=6)
    found = infer(merged(one, two)).phases
    assert Counter((each.global_tid, each.phase) for each in found) == {
        (1, "prefill"): 1, (1, "decode"): 5, (2, "prefill"): 1, (2, "decode"): 7,
    }  # fmt: skip


def test_steps_that_a_trace_cuts_are_left_out() -> None:
    whole = Lane().request(500, 12)
    inside = infer(whole.launches[3:-3]).phases
    assert [one.phase for one in inside] == ["decode"] * 11
    assert [one.end_ns for one in inside] == [one.end_ns for one in infer(whole.launches).phases[1:-1]]


def test_a_few_decode_steps_without_a_prefill_have_no_name() -> None:
    lane = Lane()
    for _ in range(7):
        lane.step(1)
    assert names(lane) == {"repeat A": 7}
    assert names(lane.step(1)) == {"decode": 8}


def test_a_prompt_in_chunks_is_several_passes() -> None:
    lane = Lane()
    for _ in range(3):
        lane.step(400, samples=False).step(400)
        for _ in range(5):
            lane.step(1)
    assert names(lane) == {"prefill": 6, "decode": 15}


def test_a_tower_before_the_layers_is_part_of_the_prefill() -> None:
    lane = Lane()
    for _ in range(2):
        lane.add("to_device")
        for _ in range(7):
            lane.layer(900, tile=256)
        lane.request(300, 6)
    assert names(lane) == {"prefill": 2, "decode": 12}


def test_a_graph_that_is_launched_again_and_again_after_a_prompt_decodes() -> None:
    lane = Lane().request(400, 3)
    lane.step(400, samples=False)
    for _ in range(9):
        lane.add("graph", 99)

    found = infer(lane.launches).phases

    assert Counter(one.phase for one in found) == {"prefill": 2, "decode": 12}
    # The pass without a sampling lasts until the first graph.
    assert found[4].end_ns == found[5].start_ns - 1


def test_a_step_that_tries_its_kernels_out_is_no_prompt() -> None:
    """Before a graph is made, its step runs its activations many times; those grids are as small as in other steps."""
    lane = Lane().step(500)
    lane.add("lookup", 1, is_few=True)
    for _ in range(4):
        lane.layer(1, tile=FEW)
        for _ in range(30):
            lane.add("activation", blocks=BLOCKS)
    lane.add("gemm", tile=FEW).add("sample", 3)
    for _ in range(8):
        lane.add("graph", 9).add("sample", 3)
    lane.request(300, 9)
    found = infer(lane.launches).phases
    assert [one.phase for one in found[:10]] == ["prefill", "repeat A", *["decode"] * 8]
    assert Counter(one.phase for one in found) == {"prefill": 2, "decode": 17, "repeat A": 1}


def test_an_arg_max_of_a_text_encoder_ends_no_pass() -> None:
    lane = Lane()
    for _ in range(6):
        lane.add("to_device").add("lookup", 1)
        for _ in range(2):
            lane.layer(77, tile=MANY)
        lane.add("sample", 3)
        for _ in range(20):
            lane.layer(1024, tile=MANY)
        lane.add("to_host")
    found = infer(lane.launches)
    assert found.phases == ()
    assert found.reason == "an arg-max in the middle of what repeats, as of a text encoder before a loop"


def test_graphs_alone_have_no_name() -> None:
    lane = Lane()
    for _ in range(9):
        lane.add("graph", 99).add("sample", 3, blocks=1)
    assert names(lane) == {"repeat A": 9}


@pytest.mark.parametrize("seed", range(5))
def test_prompts_alone_are_never_decode(seed: int) -> None:
    random = Random(seed)
    lane = Lane()
    for _ in range(40):
        lane.step(random.choice([40, 100, 400, 4000]), sequences=random.choice([1, 4]))
    assert "decode" not in names(lane)


def test_short_prompts_are_not_told_from_decode_by_grids_of_one_block() -> None:
    lane = Lane()
    for tokens in (12, 1, 1):
        lane.add("lookup", 1, is_few=True)
        for _ in range(3):
            lane.add("gemm", tile=8).add("attention", 7).add("gemm", tile=8).add("activation", blocks=1 + tokens // 4)
        lane.add("sample", 3, blocks=1)
    assert names(lane) == {"repeat A": 3}


def test_prompts_of_an_engine_may_hold_requests_that_decode() -> None:
    lane = Lane().add("cache")
    for prompt in (900, 300):
        lane.step(prompt, sequences=2)
        for _ in range(8):
            lane.step(1, sequences=3)
    assert names(lane) == {"decode": 16, "repeat A": 2}


def test_passes_that_may_decode_beside_some_that_do_are_told_with_both() -> None:
    lane = Lane().add("cache")
    for _ in range(3):
        lane.request(900, 4)
        # Prompts in between make sizes unlike those of one token.
        for _ in range(3):
            lane.step(5)
    found = infer(lane.launches).phases
    assert {(one.phase, one.evidence) for one in found} == {
        ("decode", "one token of each sequence; passes without a name may be such steps, too"),
        ("repeat A", "the launches do not tell whether it is decode, a prompt or both"),
    }


def test_two_models_in_turn_have_no_names() -> None:
    lane = Lane().step(300, layers=4).step(300, layers=9)
    for _ in range(20):
        for _ in range(4):
            lane.step(1, layers=4)
        lane.step(5, layers=9)
    assert not {"prefill", "decode"} & names(lane).keys()


def test_a_router_that_takes_the_largest_in_each_layer_is_no_sampling() -> None:
    lane = Lane()
    for _ in range(60):
        lane.layer(100, tile=256).add("sample", 5)
    found = infer(lane.launches)
    assert found.phases == ()
    assert found.reason == "sampling after each attention kernel: layers are not told from steps"


@pytest.mark.parametrize(
    ("lane", "reason"),
    [
        (Lane(), "no kernels that tell a pass through a language model"),
        (Lane().add("to_device").add("to_host"), "no attention kernels, softmax kernels or whole CUDA graphs"),
        (Lane().step(400, layers=200), "1 steps that are alike, fewer than 3"),
        (Lane().request(400, 1), "2 steps that are alike, fewer than 3"),
        (Lane().step(400, samples=False).step(400, samples=False), "no arg-max or sampling that would end a step"),
    ],
)
def test_where_nothing_repeats_one_line_says_so(lane: Lane, reason: str) -> None:
    found = infer(lane.launches)
    assert (found.phases, found.reason) == ((), reason)


@pytest.mark.parametrize("seed", range(20))
def test_random_launches_have_no_phases(seed: int) -> None:
    random = Random(seed)
    lane = Lane()
    roles = ["attention", "gemm", "gemm", "activation", "sample", "lookup", "to_host", "to_device", "communication"]
    for _ in range(3_000):
        lane.add(random.choice(roles), random.randrange(3), is_few=random.random() < 0.5, blocks=8, tile=8)

    found = infer(lane.launches)

    assert found.phases == ()
    assert found.reason


def test_a_data_loader_and_an_unrelated_process_change_nothing() -> None:
    main = Lane(1).request(500, 6)
    loader = Lane(2, at=1_001)
    other = Lane(7, process=5)
    for _ in range(300):
        loader.add("to_device")
        other.add("gemm", tile=64).add("softmax", 4)
    assert infer(merged(main, loader, other)).phases == infer(main.launches).phases


@pytest.mark.parametrize("feed", ["to_device", "no lookup", "no cache"])
def test_a_small_classifier_is_not_called_decode(feed: str) -> None:
    """Passes of eight tokens, with arg-max at their end."""
    lane = Lane()
    for _ in range(20):
        if feed == "to_device":
            lane.add("to_device").step(8)
        elif feed == "no cache":
            lane.caches = False
            lane.step(8)
        else:
            for _ in range(4):
                lane.layer(8, tile=8)
            lane.add("gemm", tile=8).add("sample", 3)

    assert names(lane) == {"repeat A": 20}
    assert {one.evidence for one in infer(lane.launches).phases} == {"the launches do not tell what it is"}


def test_short_prompts_beside_long_ones_are_not_called_decode() -> None:
    lane = Lane()
    for index in range(60):
        lane.add("to_device").step(8 if index % 3 else 400).add("to_host")
    assert names(lane) == {"repeat A": 60}


def test_an_encoder_of_short_and_long_inputs_on_the_gpu_has_no_cache() -> None:
    lane = Lane()
    lane.caches = False
    for index in range(40):
        lane.step(400 if index % 4 else 8)
    assert names(lane) == {"repeat A": 40}


def test_a_recurrence_beside_prompts_keeps_its_state_itself() -> None:
    lane = Lane()
    for _ in range(3):
        for tokens in (400, *[1] * 6):
            tile = FEW if tokens == 1 else MANY
            lane.add("lookup", 1, is_few=tokens == 1)
            for _ in range(4):
                lane.add("gemm", tile=tile).add("recurrence", 7).add("gemm", tile=tile)
                lane.add("activation", blocks=BLOCKS * tokens)
            lane.add("gemm", tile=FEW).add("sample", 3)
    assert names(lane) == {"prefill": 3, "decode": 18}


def test_a_classifier_behind_each_generation_is_not_called_decode() -> None:
    lane = Lane()
    for _ in range(5):
        lane.add("to_device").request(500, 10)
        for _ in range(4):
            lane.add("to_device").step(1).add("to_host")
    assert names(lane) == {"prefill": 5, "decode": 50, "repeat A": 20}


def test_a_first_step_that_is_given_its_place_is_decode() -> None:
    lane = Lane()
    for _ in range(3):
        lane.add("to_device").step(500).add("to_device").step(1).step(1).step(1)
    assert names(lane) == {"prefill": 3, "decode": 9}
