"""What torchrun says of its ranks, in the ways of several versions."""

from __future__ import annotations

import pytest

from nsys_pipeline.capture.torchrun import first_failure, last_words

SUMMARY = """\
Traceback (most recent call last):
  File "torch/distributed/run.py", line 1028, in main
    run(args)
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-01-01_00:00:01
  host      : localhost
  rank      : 0 (local_rank: 0)
  exitcode  : 143 (pid: 5380)
  error_file: <N/A>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_00:00:00
  host      : localhost
  rank      : 11 (local_rank: 3)
  exitcode  : CODE (pid: 5381)
  error_file: <N/A>
============================================================"""


@pytest.mark.parametrize(
    "epilogue",
    [
        "W0101 00:00:00.1 5309 torch/distributed/elastic/multiprocessing/api.py:1028] "
        "Sending process 5380 closing signal SIGTERM\n"
        "E0101 00:00:01.1 5309 torch/distributed/elastic/multiprocessing/api.py:1002] "
        "failed (exitcode: 1) local_rank: 3 (pid: 5381) of binary: /usr/bin/python3",
        "[2024-01-01 00:00:00,000] torch.distributed.elastic.multiprocessing.api: [ERROR] "
        "failed (exitcode: 1) local_rank: 3 (pid: 5381) of binary: /usr/bin/python3",
        "ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: 1) local_rank: 3 (pid: 5381) of binary: "
        "/usr/bin/python3",
    ],
)
def test_what_ranks_say_comes_before_what_torchrun_says(epilogue: str) -> None:
    said = ["step 1", "ValueError: no such token"]
    assert last_words([*said, *epilogue.splitlines(), *SUMMARY.splitlines()]) == said


def test_output_without_a_failed_rank_is_left_alone() -> None:
    said = ["torch.distributed.elastic is imported", "Sending process 12 closing signal", "done"]
    assert last_words(said) == said
    assert first_failure(said) is None


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        *[("3", "with exit code 3"), ("0", "with exit code 0"), ("255", "with exit code 255")],
        # nsys ends with 128 + the number of the signal that ended its target
        *[("-11", "by SIGSEGV"), ("139", "by SIGSEGV"), ("-99", "by signal 99")],
    ],
)
def test_the_root_cause_is_named(code: str, ended: str) -> None:
    assert first_failure(SUMMARY.replace("CODE", code).splitlines()) == f"rank 11 failed first, {ended}"


def test_a_summary_that_is_cut_short_names_nothing() -> None:
    assert first_failure(SUMMARY.partition("  exitcode  : CODE")[0].splitlines()) is None


def test_the_words_of_the_rank_that_failed_first_are_the_ones_that_count() -> None:
    said = ["[rank11]: RuntimeError: out of memory", "[rank0]: RuntimeError: Connection closed by peer"]
    epilogue = "E0 torch/distributed/elastic/multiprocessing/api.py:1] failed (exitcode: 1) local_rank: 3 (pid: 5)"
    lines = [*said, epilogue, *SUMMARY.replace("CODE", "1").splitlines()]
    assert last_words(lines) == said[:1]
    # without marks of ranks, all
    assert last_words(["a", *lines[2:]]) == ["a"]


def test_after_restarts_the_last_attempt_is_the_one_that_counts() -> None:
    epilogue = "E0 torch/distributed/elastic/multiprocessing/api.py:1] failed (exitcode: 1) local_rank: 3 (pid: 5)"
    assert last_words(["first", epilogue, "second", epilogue, *SUMMARY.splitlines()]) == ["first", "second"]
