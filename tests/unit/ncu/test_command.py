"""The ncu command: names that match exactly, ranges that are escaped, launches that are skipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nsys_pipeline.errors import QueryError
from nsys_pipeline.ncu import Target, ncu_argv
from nsys_pipeline.ncu.command import name_pattern, nvtx_expression
from nsys_pipeline.query.recipes import find_recipe
from tests.cli.run import run
from tests.support.ask import ask
from tests.support.real_traces import unpack_by_name, without_ranges
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(
    ("domain", "name", "is_push_pop", "expected"),
    [
        ("", "decode", True, "decode/"),
        ("llmperf", "decode", True, "llmperf@decode/"),
        ("llmperf", "decode", False, "llmperf@decode"),
        ("", "execute_context_1(5)_generation_0(0)", True, "execute_context_1(5)_generation_0(0)/"),
        ("", "a/b@c[0],d*", True, r"a\/b\@c\[0\]\,d\*/"),
    ],
)
def test_ranges_are_escaped(domain: str, name: str, is_push_pop: bool, expected: str) -> None:
    assert nvtx_expression(domain, name, is_push_pop) == expected


def test_names_match_themselves_and_nothing_longer() -> None:
    names = ["gemm.x", "operator()", "a|b"]
    pattern = re.compile(name_pattern(names))

    assert [bool(pattern.search(name)) for name in [*names, "gemmyx", "gemm.xx", "a", "my gemm.x"]] == [True] * 3 + [
        False
    ] * 4


def test_every_option_has_its_place() -> None:
    target = Target(("gemm",), "", "decode", is_push_pop=True, skip=3, count=2, has_graphs=True)

    argv = ncu_argv("ncu", target, ["python", "x.py", "--skip", "1"], Path("out.ncu-rep"))

    assert argv[-4:] == ["python", "x.py", "--skip", "1"]
    text = " ".join(argv[:-4])
    assert "--nvtx --nvtx-include decode/" in text
    assert "--kernel-name regex:^(gemm)$" in text
    assert text.endswith("--graph-profiling node --launch-skip 3 --launch-count 2")


def test_an_occurrence_that_only_communicates_is_refused() -> None:
    kernels = [
        {"name": name, "communicates": communicates, "in_occurrence": count}
        for name, communicates, count in (("gemm", False, 0), ("ncclDevKernel_AllGather_RING_LL", True, 3))
    ]

    with pytest.raises(QueryError, match="every kernel of the occurrence communicates"):
        Target.of(kernels, None, is_every_kernel=True)


def choice(trace: TraceBuilder, folder: Path, **parameters: object) -> list[str]:
    recipe = find_recipe("ncu_kernels")
    columns = "name, in_occurrence, skipped, skipped_all, other_thread_count, occurrence"
    query = f"SELECT {columns} FROM ({recipe.sql}) ORDER BY name"
    return ask(trace, query, folder, recipe.arguments(parameters)).splitlines()[1:]


def test_launches_of_warm_up_in_ranges_of_the_same_name_are_skipped(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.launch(1, gpu=(1, 2), name="gemm")  # before every range
    main.push(10, 40, "warmup", domain="llmperf")
    main.push(20, 30, "decode", domain="llmperf")
    main.launch(21, gpu=(21, 24), name="gemm")
    main.launch(22, gpu=(24, 25), name="softmax")
    for start in (50, 60):
        main.push(start, start + 9, "decode", domain="llmperf")
        main.launch(start + 1, gpu=(start + 1, start + 3), name="gemm")
        main.launch(start + 2, gpu=(start + 3, start + 5), name="gemm")

    assert choice(trace, tmp_path) == ["gemm,2,1,2,0,1", "softmax,0,1,1,0,1"]


def test_launches_in_phases_inside_the_range_are_counted_as_ncu_counts_them(tmp_path: Path) -> None:
    # given two prefills, the first one warm-up, and inside each a decode that alone launches other_kernel
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(1, 9, "decode")
    main.launch(2, gpu=(2, 4), name="gemm")
    main.push(10, 45, "warmup", domain="llmperf")
    for start in (11, 51):
        main.push(start, start + 30, "prefill")
        main.launch(start + 1, gpu=(start + 1, start + 3), name="gemm")
        main.push(start + 5, start + 15, "decode")
        main.launch(start + 6, gpu=(start + 6, start + 8), name="gemm")
        main.launch(start + 8, gpu=(start + 8, start + 9), name="other_kernel")

    assert choice(trace, tmp_path, phase="prefill", top=0) == ["gemm,2,2,3,0,1", "other_kernel,1,1,1,0,1"]


def test_kernels_of_another_thread_are_told(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    process = trace.process()
    process.thread(100).push(10, 40, "backward")
    process.thread(101).launch(20, gpu=(20, 30), name="grad")

    assert choice(trace, tmp_path, phase="backward") == ["grad,1,0,0,1,0"]


def test_without_a_range_every_kernel_before_the_occurrence_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a forward pass, whose kernel no backward has, before a backward that another thread launches
    trace = TraceBuilder().gpu()
    process = trace.process()
    main = process.thread(100)
    main.push(1, 9, "forward")
    main.launch(2, gpu=(2, 4), name="forward_kernel")
    main.push(10, 40, "backward")
    process.thread(101).launch(20, gpu=(20, 30), name="grad")
    path = trace.write(tmp_path / "t.sqlite")

    _, every, _ = run(capsys, "ncu", path, "--phase", "backward", "--top", "0", "--", "x")
    _, named, _ = run(capsys, "ncu", path, "--phase", "backward", "--", "x")

    assert "--nvtx" not in every + named
    assert every.strip().endswith("--launch-skip 1 --launch-count 1 x")
    assert named.strip().endswith("--kernel-name 'regex:^(grad)$' --launch-count 1 x")


def test_an_inferred_phase_is_found_by_its_launches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given a trace whose ranges are gone: 277 kernels were launched before its first decode step
    path = without_ranges(unpack_by_name("h100_gpu_metrics", tmp_path))

    _, text, _ = run(capsys, "ncu", path, "--phase", "decode", "--top", "0", "--", "x")

    assert "--nvtx" not in text
    assert text.strip().endswith("--launch-skip 277 --launch-count 186 x")
