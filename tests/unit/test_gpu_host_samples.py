"""The comparison of samplers: stacks read as they write them, and what two of them agree on."""

from __future__ import annotations

from pathlib import Path

from scripts import gpu_host_samples as script

SCRIPT = script.FILE


def test_stacks_of_both_samplers_are_read_alike(tmp_path: Path) -> None:
    inside = f"<module> ({SCRIPT}:9);run.<locals>.steady ({SCRIPT}:8)"
    path = tmp_path / "py-spy.txt"
    path.write_text(
        f"{inside};Linear.forward (/x/site-packages/torch/linear.py:134) 3\n"
        f"{inside};Norm.forward (/x/site-packages/norm.py:65);pow (/x/dist-packages/torch/f.py:1) 1\n"
        f"<module> ({SCRIPT}:9);first ({SCRIPT}:7);elsewhere (a.py:1) 9\n"
        "import (b.py:2) 5\nno stack\n"
    )
    linear, norm, power = (
        script.Place("forward", "torch/linear.py", 134), script.Place("forward", "norm.py", 65),
        script.Place("pow", "torch/f.py", 1),
    )  # fmt: skip
    selves, anywhere = script.read_stacks(path, "steady")
    assert (selves, anywhere) == ({linear: 0.75, power: 0.25}, {linear: 0.75, norm: 0.25, power: 0.25})
    assert script.read_stacks(path, "first")[0] == {script.Place("elsewhere", "a.py", 1): 1.0}

    said = script.agreement(selves, {linear: 0.5, norm: 0.5}, "thread")
    assert said.startswith("1 of the first 5 lines are among thread's first 5, the first one is the same; 50 %")
