"""Units of work that are no language model's: loops with known steps, and work that has none."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from nsys_pipeline.infer import Inference
from tests.unit.infer.loops import Program, found_ratio, inferred

SEEDS = range(2)


def convolutional(random: Random, steps: int, *, thread: int = 1, helper: bool = False) -> tuple[Program, Program]:
    """As a CNN's training: a copy, layers there and back (back on a thread of its own if `helper`), an update.

    Its kernels have no names, so that none tells a loss or an optimizer: those are in test_training.py.
    """
    main = Program(random, thread=thread)
    other = Program(random, thread=thread + 1) if helper else main
    layers = [random.randrange(100, 130) for _ in range(40)]
    for _ in range(steps):
        main.begin()
        other.begin() if helper else None
        main.add(1, "to_device", size=22)
        for layer in layers:
            main.add(layer).add(2).add(3)
        main.add(4)
        other.at = main.at
        for layer in reversed(layers):
            other.add(layer + 500).add(5)
        main.at = other.at
        main.run([6] * random.choice([11, 11, 11, 13]))
        main.wait(random.randrange(300, 2_000))
    return main, other


def check(program: Program, inference: Inference, *, least: float = 0.9) -> None:
    assert inference.phases, inference.reason
    assert found_ratio(program, inference) >= least
    spans = [(one.global_tid, one.start_ns, one.end_ns) for one in inference.phases]
    assert all(before[0] < after[0] or before[2] < after[1] for before, after in pairwise(sorted(spans)))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_loop_there_and_back_through_layers(seed: int) -> None:
    main, _ = convolutional(Random(seed), 12)
    found = inferred(main)
    check(main, found)
    assert {one.phase for one in found.phases} == {"repeat A"}
    assert len(found.phases) == 12


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thread_of_gradients_is_of_the_steps_of_the_main_one(seed: int) -> None:
    main, gradients = convolutional(Random(seed), 12, helper=True)
    found = inferred(main, gradients)
    check(main, found)
    assert {one.global_tid for one in found.phases} == {1}
    # What the other thread launches lies in the same steps.
    gradients.thread = 1
    assert found_ratio(gradients, found) >= 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_a_diffusion_loop(seed: int) -> None:
    random = Random(seed)
    program = Program(random).run(range(900, 940))
    for _ in range(3):
        program.run(range(800, 830))
        for _ in range(20):
            program.begin()
            for block in range(12):
                program.run([200 + block, 3, 4]).add(5, "attention").run([6, 7, 8]).add(9, "attention").run([10, 11])
            program.run([20, 21]).end()
            program.wait(random.randrange(60, 90))
        program.run(range(700, 760)).add(3, "to_host")
    found = inferred(program)
    check(program, found)
    assert Counter(one.phase for one in found.phases) == {"repeat A": 60}


def images_of(program: Program, block: int, *, once: bool) -> Program:
    """Three images of 30 steps with 12 blocks of `block` launches each; then a decoder, and a copy to the host."""
    for _ in range(3):
        program.add(1, "to_device")
        for _ in range(30):
            program.begin()
            if once:
                program.run([20, 21])
            for _ in range(12):
                program.add(9, "attention").run([3, 4, 5, 6, 7] * (block // 5))
            program.run([22, 22, 23] if once else [22, 22, 22]).end()
        program.run([30] * 40).add(3, "to_host")
    return program


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_of_images_do_not_hold_what_comes_between_the_images(seed: int) -> None:
    program = images_of(Program(Random(seed)), 15, once=True)
    found = inferred(program)
    check(program, found, least=1.0)
    assert Counter(one.phase for one in found.phases) == {"repeat A": 90}
    decoders = [
        work.start_ns
        for work, step in zip(program.launches, program.steps, strict=True)
        if step is None and work.name_id == 30
    ]
    held = sum(one.start_ns <= at <= one.end_ns for one in found.phases for at in decoders)
    assert held == 0
    assert found.hierarchy == "about 1,080 shorter units < 90 units of about 197 kernels"


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_begin_where_other_work_comes_between_them(seed: int) -> None:
    # Given steps without a pause, which copy to the host twice, and a kernel of their middle before the first one.
    program = Program(Random(seed)).add(25)
    for _ in range(4):
        program.run(range(800, 830))
        for step in range(20):
            program.begin()
            program.run(range(10, 30)).add(3, "to_host").run([4, *range(30, 45)]).add(3, "to_host").run([4, 5, 6])
            program.add(7 if step < 19 else 8).add(9).end()
        program.run(range(700, 760)).add(3, "to_host")
    found = inferred(program)
    check(program, found, least=1.0)
    assert Counter(one.phase for one in found.phases) == {"repeat A": 80}
    between = [
        work.start_ns
        for work, step in zip(program.launches, program.steps, strict=True)
        if step is None and work.name_id >= 700
    ]
    assert not any(one.start_ns <= at <= one.end_ns for one in found.phases for at in between)


@pytest.mark.parametrize("seed", SEEDS)
def test_layers_that_a_thread_runs_in_turn_with_another_are_no_steps(seed: int) -> None:
    # Given two models that are trained in turn, as a GAN's: no kernel comes once in each step.
    main, gradients = Program(Random(seed), thread=1), Program(Random(seed), thread=2)
    for _ in range(12):
        main.add(1, "to_device", size=22)
        for _ in range(2):
            main.run([10, 11, 12] * 8 + [13])
            gradients.at = main.at
            gradients.run([20, 21, 22, 23] * 12)
            main.at = gradients.at
            main.run([14, 14])
    found = inferred(main, gradients)
    assert found.phases == ()
    assert found.reason is not None
    assert "288 repetitions of 4 launches in 24 turns with another thread" in found.reason


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_in_which_each_kernel_comes_several_times_are_not_cut_in_blocks(seed: int) -> None:
    found = inferred(images_of(Program(Random(seed)), 15, once=False))
    assert found.phases == ()
    assert found.reason is not None
    assert "repetitions of 195 launches: none marks where one begins" in found.reason


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stencil_and_one_with_a_check_now_and_then(seed: int) -> None:
    random = Random(seed)
    plain, checked = Program(random).add(1, "to_device"), Program(random).add(1, "to_device")
    for step in range(300):
        plain.begin()
        plain.run([10, 11, 11, 12])
        if step % 50 == 0:
            checked.begin()
        checked.run([10, 11, 11, 12])
        if step % 50 == 49:
            checked.add(13).add(1, "to_host")
    found = inferred(plain)
    check(plain, found)
    assert found.phases[0].unit == "4 kernels"
    found = inferred(checked)
    check(checked, found)
    assert found.hierarchy == "about 300 shorter units < 6 units of 201 kernels and 1 host copy"


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seventh_step_is_another_one(seed: int) -> None:
    random = Random(seed)
    program = Program(random)
    for step in range(50):
        program.begin()
        program.add(1, "to_device").run(range(100, 130))
        if step % 7 == 6:
            program.run([40 + random.randrange(5) for _ in range(random.randrange(5, 12))])
        program.run(range(130, 150)).add(1, "to_host")
        program.wait(random.randrange(200, 400))
    found = inferred(program)
    check(program, found)
    assert Counter(one.phase for one in found.phases) == {"repeat A": 50}


@pytest.mark.parametrize("seed", SEEDS)
def test_graphs_alone(seed: int) -> None:
    random = Random(seed)
    program = Program(random)
    for _ in range(30):
        program.begin()
        program.add(1, "graph").wait(random.randrange(10, 20))
    found = inferred(program)
    check(program, found)
    assert found.phases[0].unit == "1 CUDA graph"


@pytest.mark.parametrize("seed", SEEDS)
def test_two_loops_after_each_other_and_threads_beside_each_other(seed: int) -> None:
    random = Random(seed)
    one = Program(random, thread=1)
    for names, steps in ((range(100, 140), 30), (range(300, 325), 40)):
        for _ in range(steps):
            one.begin()
            one.add(1, "to_device").run(names).add(2, "to_host")
            one.wait(random.randrange(100, 200))
    two = Program(random, thread=2, at=777_777)
    for _ in range(50):
        two.begin()
        two.add(3, "to_device", size=7).run(range(400, 431)).add(3, "to_host").wait(random.randrange(100, 200))
    found = inferred(one, two)
    check(one, found)
    check(two, found)
    assert sorted(Counter(phase.phase for phase in found.phases).values()) == [30, 40, 50]


@pytest.mark.parametrize("seed", SEEDS)
def test_streams_that_interleave_in_any_order(seed: int) -> None:
    random = Random(seed)
    program = Program(random)
    for _ in range(25):
        program.begin()
        program.add(1, "to_device")
        queues = [list(range(100, 120)), list(range(200, 213)), [300, 301, 302]]
        while any(queues):
            queue = random.choice([each for each in queues if each])
            program.add(queue.pop(0))
        program.add(5).add(9, "sync").wait(50)
    check(program, inferred(program))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trace_that_begins_and_ends_in_a_step(seed: int) -> None:
    random = Random(seed)
    program, _ = convolutional(random, 14)
    low, high = random.randrange(150), -random.randrange(1, 150)
    program.launches, program.steps = program.launches[low:high], program.steps[low:high]
    inside = inferred(program)
    assert found_ratio(program, inside) >= 12 / 14
    check(program, inside, least=0.8)


@pytest.mark.parametrize("seed", range(8))
def test_random_launches_have_no_phases(seed: int) -> None:
    random = Random(seed)
    program = Program(random)
    weights = [1 / (1 + rank) ** random.choice([0, 1, 2]) for rank in range(random.choice([3, 20, 100]))]
    for name in random.choices(range(len(weights)), weights, k=2_500):
        program.add(name, random.choice(["kernel"] * 8 + ["to_host", "to_device"]))
    found = inferred(program)
    assert found.phases == ()
    assert found.reason


@pytest.mark.parametrize("seed", range(30))
def test_impossible_times_are_no_error(seed: int) -> None:
    """Launches at one time, few of them, of few kernels: nothing that a broken trace may not hold."""
    random = Random(seed)
    programs = [Program(random, thread=thread, process=1 + thread // 2) for thread in range(random.randrange(1, 4))]
    roles = ["kernel", "kernel", "attention", "graph", "to_host", "to_device", "memory", "sync"]
    for program in programs:
        for _ in range(random.randrange(60)):
            for name in random.choice([(1, 2), (1, 2, 3), (4,)]):
                program.add(name, random.choice(roles[: 1 + seed % len(roles)]))
        if seed % 3:
            program.launches = [one._replace(start_ns=7, end_ns=7 * (seed % 2)) for one in program.launches]
    found = inferred(*programs)
    assert all(one.start_ns < one.end_ns for one in found.phases)
    assert found.phases or found.reason


def steps_of(count: int, names: range) -> Program:
    program = Program(Random(0))
    for _ in range(count):
        program.add(1, "to_device").run(names).add(1, "to_host").wait(100)
    return program


def layers(count: int, *, attention: bool) -> Program:
    """One giant step: a lookup, so many equal layers, a head."""
    program = Program(Random(1)).add(1, "to_device").run([1, 2])
    for _ in range(count):
        program.run([10, 11, 12]).add(13, "attention" if attention else "kernel").run([14, 15, 16, 16])
    return program.run([3, 4]).add(1, "to_host")


def products(count: int) -> Program:
    """As `layers`, with a kernel that comes six times in each: of every fourth of these there are more than layers."""
    program = Program(Random(1)).add(1, "to_device")
    for _ in range(count):
        program.run([10, 20, 20, 20]).add(13, "attention").run([20, 11, 10, 20, 12, 20, 11])
    return program.add(1, "to_host")


def unrelated() -> Program:
    """A few kernels again and again, at no even distance; a data loader that only copies lies between."""
    random, program = Random(5), Program(Random(6))
    for _ in range(400):
        program.run([random.choice([1, 1, 1, 2])] * random.randrange(1, 9)).add(1, "to_device")
    return program


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (steps_of(3, range(100, 130)), "no kernel is launched 4 times with grids of like size"),
        (layers(32, attention=True), "each of 32 repetitions has one attention kernel: they may be layers of a step"),
        (products(60), "each of 60 repetitions has one attention kernel: they may be layers of a step"),
        (layers(48, attention=False), "48 repetitions of 8 launches without a copy or a wait in between"),
        (Program(Random(2)).run(range(900)), "no kernel is launched 4 times with grids of like size"),
        (Program(Random(2)).run([7] * 900), "what comes again is a single kernel"),
        (Program(Random(2)), "no kernels and no whole CUDA graphs"),
        (unrelated(), "what is launched between two launches of a kernel differs as if by chance"),
    ],
)  # fmt: skip
def test_where_no_unit_repeats_one_line_says_so(program: Program, reason: str) -> None:
    found = inferred(program)
    assert found.phases == ()
    assert reason in (found.reason or "")
