"""Ranges of frameworks around passes: they have what no pass inside has, and are none themselves."""

from __future__ import annotations

from pathlib import Path

from tests.support.ask import ask
from tests.support.trace_builder import TraceBuilder


def test_rounds_of_reinforcement_learning_and_steps_of_jax(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    # given a rollout with a kernel of its own and two steps of vLLM
    main.push(0, 100_000, "rollout_generate").launch(100, gpu=(200, 300))
    for at in (10_000, 20_000):
        main.push(at, at + 5_000, "execute_context_0(0)_generation_4(4)").launch(at + 10, gpu=(at + 20, at + 1_020))
    # an update with two passes, and the optimizer's kernel behind them
    main.push(200_000, 300_000, "actor_update")
    for at, name in ((210_000, "forward"), (220_000, "backward")):
        main.push(at, at + 5_000, name).launch(at + 10, gpu=(at + 20, at + 2_020))
    main.launch(290_000, gpu=(291_000, 292_000))
    # and a compiled step with a range of XLA's inside
    name = "XlaModule:#hlo_module=jit_train_step,program_id=11#"
    main.push(400_000, 500_000, name, domain="TSL").push(405_000, 450_000, "Thunk:#name=fusion.3#", domain="TSL")
    main.launch(410_000, gpu=(420_000, 430_000))

    query = "SELECT phase, occurrences, kernel_count, kernel_time_ns FROM phase_summary ORDER BY phase"

    assert ask(trace.write(tmp_path / "trace.sqlite"), query, tmp_path).splitlines()[1:] == [
        "backward,1,1,2000", "decode,2,2,2000", "forward,1,1,2000", "rollout,1,1,100",
        "step,1,1,10000", "update,1,1,1000",
    ]  # fmt: skip


def test_each_part_of_a_round_of_ppo_is_a_phase_and_only_updates_train(tmp_path: Path) -> None:
    # given verl's workers, which mark their functions with start/end ranges: each has a kernel of another length
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    parts = (
        "generate_sequences", "compute_rm_score", "compute_log_prob", "compute_ref_log_prob", "compute_values",
        "update_critic", "update_actor",
    )  # fmt: skip
    for number, name in enumerate(parts):
        at = 100_000 * number
        main.start_end(at, at + 90_000, name)
        main.launch(at + 10, gpu=(at + 20, at + 1_020 + number))
        # whoever computes log-probabilities, values or updates runs forwards; updates go back, too
        passes = {"compute": ["forward"], "update": ["forward", "backward", "optimizer"]}.get(name.split("_")[0], [])
        for step, phase in enumerate(passes):
            start = at + 10_000 * (step + 1)
            main.push(start, start + 5_000, phase).launch(start + 10, gpu=(start + 20, start + 2_020))
    path = trace.write(tmp_path / "trace.sqlite")

    told = ask(path, "SELECT phase, kernel_count, kernel_time_ns FROM phase_summary ORDER BY phase", tmp_path)
    steps = ask(path, "SELECT step, micro_batches FROM training_steps ORDER BY step", tmp_path)

    assert told.splitlines()[1:] == [
        "backward,2,4000", "critic_update,1,1005", "forward,6,12000", "logprobs,1,1002", "optimizer,2,4000",
        "reference_logprobs,1,1003", "reward,1,1001", "rollout,1,1000", "update,1,1006", "values,1,1004",
    ]  # fmt: skip
    # a step for the critic and one for the policy: forwards without a backward evaluate
    assert steps.splitlines()[1:] == ["0,1", "1,1"]


def test_a_step_has_each_nanosecond_between_its_phases(tmp_path: Path) -> None:
    """5 ns before the first, 1 between two, none between two that touch, 9 behind the last."""
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 45, "train_step")
    for start, end, name in ((5, 15, "forward"), (16, 26, "backward"), (26, 36, "optimizer")):
        main.push(start, end, name).launch(start + 1, gpu=(start + 2, start + 3))
    main.launch(40, gpu=(41, 42))

    query = "SELECT wall_ns FROM phase_summary WHERE phase = 'step'"

    assert ask(trace.write(tmp_path / "trace.sqlite"), query, tmp_path).splitlines()[1:] == ["15"]
