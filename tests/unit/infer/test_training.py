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


def evaluated(steps: int, *, lookup: bool, loss: bool) -> tuple[Lane, list[int]]:
    """Training with two passes without gradients after every fifth update, and when its forward passes begin."""
    lane, begins = Lane(), []

    def forward(*, has_loss: bool) -> int:
        begin = lane.add("to_device").at
        if lookup:
            begin = lane.add("lookup", 1).at
        for _ in range(4):
            lane.layer(64, tile=64)
        lane.add("loss" if has_loss else "sample", 4)
        return begin

    for step in range(steps):
        begins.append(forward(has_loss=True))
        lane.add("backward", 5).add("backward", 6).add("optimizer", 8)
        for _ in range(2 if step % 5 == 4 else 0):
            forward(has_loss=loss)
            lane.add("to_host")
    return lane, begins


@pytest.mark.parametrize("lookup", [True, False])
@pytest.mark.parametrize("loss", [True, False])
def test_an_evaluation_between_two_steps_is_of_neither(lookup: bool, loss: bool) -> None:
    lane, begins = evaluated(16, lookup=lookup, loss=loss)
    found = infer(lane.launches)
    assert found.hierarchy == "forward, backward, optimizer < 16 steps"
    starts = [one.start_ns for one in found.phases if one.phase == "forward"]
    assert starts == [begin if lookup else begin + 6 for begin in begins]


def test_updates_whose_forward_pass_is_not_told_are_counted() -> None:
    lane = images(12, copies=2)
    for _ in range(2):
        lane.add("loss", 4).add("optimizer", 8)
    lane.launches += images(12, copies=2, at=lane.at).launches
    found = infer(lane.launches)
    assert found.hierarchy == (
        "forward, backward, optimizer < 24 steps, and 2 updates more whose forward pass is not told"
    )


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("copies", [True, False])
def test_gradients_of_a_vision_model_add_up(attention: bool, copies: bool) -> None:
    """Each micro-batch begins behind the copy of its images; without copies nothing says where."""
    main, autograd = Lane(1), Lane(2)
    begins = []
    for _ in range(5):
        for _ in range(3):
            if copies:
                begins.append(main.add("to_device").at + 6)
            for _ in range(9):
                main.add("gemm", tile=128)
                if attention:
                    main.layer(64, tile=64)
            if copies:
                # Labels.
                main.add("to_device")
            main.add("loss", 4)
            autograd.at = main.at
            for _ in range(9):
                autograd.add("gemm", tile=128).add("backward", 5)
            main.at = autograd.add("call").at
        main.add("optimizer", 8)
    found = infer(merged(main, autograd))
    assert [one.start_ns for one in found.phases if one.phase == "forward"] == begins
    assert bool(found.phases) == copies
    assert copies or found.reason == (
        "no lookup of embeddings and no copy from the host that begins the forward passes of training"
    )
    assert not copies or found.hierarchy == "15 micro-batches < 5 steps"


def images(steps: int, *, copies: int = 1, attention: bool = False, at: int = 1_000) -> Lane:
    """Training of a vision model: no lookup; `copies`: in how many of two updates data come from the host."""
    lane = Lane(at=at)
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
