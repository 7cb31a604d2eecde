"""Training steps: forward, backward and optimizer of the thread that runs the optimizer."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from nsys_pipeline.infer import infer
from tests.unit.infer.lanes import Lane, merged


def trained(steps: int, *, layers: int = 4, uneven: bool = False) -> tuple[Lane, Lane]:
    """The main thread and autograd's."""
    main, autograd = Lane(1), Lane(2)
    for step in range(steps):
        main.add("to_device").add("lookup", 1)
        for _ in range(layers * (1 + 3 * (step % 2)) if uneven else layers):
            main.layer(2048, tile=256)
        main.add("loss", 4)
        autograd.at = main.at
        autograd.add("backward", 5)
        for _ in range(layers):
            autograd.add("backward", 6)
        autograd.add("call")
        main.at = autograd.at
        for _ in range(3):
            main.add("optimizer", 8)
    return main, autograd


def test_a_step_is_forward_backward_and_optimizer() -> None:
    main, autograd = trained(4)

    inference = infer(merged(main, autograd))
    found = inference.phases

    assert inference.hierarchy == "forward, backward, optimizer < 4 steps"
    assert [one.phase for one in found] == ["forward", "backward", "optimizer"] * 4
    assert {one.global_tid for one in found} == {1}
    assert all(before.end_ns < after.start_ns for before, after in pairwise(found))
    lookups = [one.start_ns for one in main.launches if one.role == "lookup"]
    assert [one.start_ns for one in found if one.phase == "forward"] == lookups
    # Each of autograd's launches falls into a backward pass.
    backward = [one for one in found if one.phase == "backward"]
    assert all(any(one.start_ns <= launch.start_ns <= one.end_ns for one in backward) for launch in autograd.launches)


def test_training_beside_inference_has_levels_of_its_own() -> None:
    serving = Lane(5, process=2).request(500, 9)

    inference = infer(merged(*trained(4), serving))

    assert inference.hierarchy == ("forward, backward, optimizer < 4 steps; 4 attention kernels < 10 steps < 1 request")


def test_backward_work_of_the_same_thread_is_told_by_its_kernels() -> None:
    lane = Lane()
    for _ in range(5):
        lane.add("lookup", 1).layer(64, tile=64).layer(64, tile=64).add("loss", 4)
        lane.add("backward", 5).add("backward", 6).add("optimizer", 8)
    assert Counter(one.phase for one in infer(lane.launches).phases) == {"forward": 5, "backward": 5, "optimizer": 5}


def test_too_few_steps_and_uneven_ones_are_none() -> None:
    assert infer(merged(*trained(2))).reason == "2 training steps, fewer than 3"
    assert infer(merged(*trained(8, uneven=True))).phases == ()


def test_gradients_that_add_up_are_several_passes_of_a_step() -> None:
    lane = Lane()
    for _ in range(4):
        for _ in range(3):
            lane.add("lookup", 1).layer(64, tile=64).add("loss", 4).add("backward", 5).add("backward", 6)
        lane.add("optimizer", 8)
    inference = infer(lane.launches)
    found = inference.phases
    assert inference.hierarchy == "12 micro-batches < 4 steps"
    assert [one.phase for one in found] == [*["forward", "backward"] * 3, "optimizer"] * 4
    assert all(before.end_ns < after.start_ns for before, after in pairwise(found))


def test_passes_of_a_pipeline_that_interleave_are_none() -> None:
    lane = Lane()
    for _ in range(5):
        for role in ("loss", "backward", "loss", "backward"):
            lane.layer(64, tile=64).add(role, 5)
        lane.add("optimizer", 8)
    assert infer(lane.launches).phases == ()


def test_generation_with_foreach_kernels_is_generation() -> None:
    lane = Lane().add("optimizer", 8).request(500, 8)
    assert Counter(one.phase for one in infer(lane.launches).phases) == {"prefill": 1, "decode": 8}


def test_optimizer_kernels_alone_are_no_training() -> None:
    lane = Lane()
    for _ in range(9):
        lane.add("lookup", 1).layer(64, tile=64).add("optimizer", 8)
    found = infer(lane.launches)
    assert (found.phases, found.reason) == ((), "no arg-max or sampling that would end a step")


def images(steps: int, *, copies: int = 1, attention: bool = False) -> Lane:
    """Training of a vision model: no lookup; `copies`: in how many of two updates data come from the host."""
    lane = Lane()
    for step in range(steps):
        if step % 2 < copies:
            lane.add("to_device")
        for _ in range(9):
            lane.add("gemm", tile=128)
            if attention:
                lane.layer(64, tile=64)
        lane.add("loss", 4).add("backward", 5)
        for _ in range(9):
            lane.add("gemm", tile=128)
        lane.add("optimizer", 8)
    return lane


@pytest.mark.parametrize("attention", [True, False])
def test_the_forward_pass_of_a_vision_model_starts_behind_the_copy_of_its_data(attention: bool) -> None:
    lane = images(6, copies=2, attention=attention)
    copies = [one.end_ns + 1 for one in lane.launches if one.role == "to_device"]
    found = infer(lane.launches).phases
    assert Counter(one.phase for one in found) == {"forward": 6, "backward": 6, "optimizer": 6}
    assert [one.start_ns for one in found if one.phase == "forward"] == copies


@pytest.mark.parametrize("copies", [0, 1])
def test_training_whose_forward_pass_has_no_known_start_is_none(copies: int) -> None:
    found = infer(images(12, copies=copies).launches)
    assert found.phases == ()
    assert (
        found.reason == "no lookup of embeddings and no copy from the host that begins the forward passes of training"
    )
