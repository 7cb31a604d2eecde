"""Rules: what they mean, where a broken one points, and that a missing number never passes."""

from __future__ import annotations

import pytest

from nsys_pipeline.compare.fields import bounds, numbers
from nsys_pipeline.compare.rules import Rule, read_rules
from nsys_pipeline.errors import UsageError

BASE = {"decode.tpot_p50_ns": 10e6, "prefill.mfu_busy": 0.5, "decode.busy_ratio": 0.9, "totals.kernel_count": 0}
NEW = {
    "decode.tpot_p50_ns": 11e6,
    "prefill.mfu_busy": 0.3,
    "decode.busy_ratio": None,
    "totals.kernel_count": 3,
    "repeat A.step_wall_ns": 5e3,
}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("prefill.mfu_busy < 0.35", "prefill.mfu_busy < 0.35: prefill.mfu_busy is 0.3"),
        ("prefill.mfu_busy<35%", "prefill.mfu_busy<35%: prefill.mfu_busy is 30 %"),
        ("prefill.mfu_busy < 30%", None),
        ("prefill.mfu_busy <= 0.3", "prefill.mfu_busy <= 0.3: prefill.mfu_busy is 0.3"),
        ("decode.tpot_p50 > 10.5ms", "decode.tpot_p50 > 10.5ms: decode.tpot_p50 is 11 ms"),
        ("decode.tpot_p50 > 11 ms", None),
        ("prefill.mfu_busy < 50 %", "prefill.mfu_busy < 50 %: prefill.mfu_busy is 30 %"),
        ('"repeat A".step_wall > 4us', '"repeat A".step_wall > 4us: repeat A.step_wall is 5 us'),
        (
            "decode.tpot_p50 > +5%",
            "decode.tpot_p50 > +5%: decode.tpot_p50 went from 10,000,000 to 11,000,000, +10.0 %",
        ),
        ("decode.tpot_p50 > +10%", None),
        ("prefill.mfu_busy < -5%", "prefill.mfu_busy < -5%: prefill.mfu_busy went from 0.5 to 0.3, -40.0 %"),
        ("totals.kernel_count > +100%", "totals.kernel_count > +100%: totals.kernel_count went from 0 to 3, +inf %"),
        ("totals.kernel_count != 3", None),
        ("totals.kernel_count == 3", "totals.kernel_count == 3: totals.kernel_count is 3"),
    ],
)
def test_a_rule_that_holds_is_broken(rule: str, said: str | None) -> None:
    assert Rule.parse(rule).broken(NEW, BASE) == said


@pytest.mark.parametrize(
    ("rule", "column", "problem"),
    [
        ("", 0, "the name of a number"),
        ("> 5", 0, "the name of a number"),
        ("decode.mfu_busy", 15, "one of > <"),
        ("decode.mfu_busy is 5", 16, "one of > <"),
        ("decode.mfu_busy > ", 18, "a number belongs here"),
        ("decode.mfu_busy > fast", 18, "a number belongs here"),
        ("decode.mfu_busy > 5 parsecs", 20, "`parsecs` is not a unit"),
        ("decode.mfu_busy > 5% or more", 21, "the rule ends before this"),
        ('"decode.mfu_busy > 5', 0, "the name of a number"),
        ("decode.wall > 1e999", 14, "the number is too large"),
        ("decode.wall > +5ms", 14, "a change is in per cent"),
        ("decode.mfu_busy < +0.1", 18, "a change is in per cent"),
    ],
)
def test_an_error_points_at_the_character(rule: str, column: int, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        Rule.parse(rule)

    first, shown, pointer = caught.value.message.split("\n")
    assert problem in first
    assert shown == f"  {rule}"
    assert pointer == f"  {' ' * column}^"


@pytest.mark.parametrize(
    ("rule", "base", "problem"),
    [
        ("decode.tpot_p51 > 5", BASE, "no number called"),
        ("decode.tpot_p50 > 5%", BASE, "is no share of anything"),
        ("totals.kernel_count < 5%", BASE, "is no share of anything"),
        ("prefill.mfu_busy < 0.35ms", BASE, "is no time"),
        ("decode.busy_ratio > 0", BASE, "is not known in the report"),
        ("decode.tpot_p50 > +5%", None, "compares with a base, and there is none"),
    ],
)
def test_what_cannot_be_compared_is_no_success(rule: str, base: dict[str, float | None] | None, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Rule.parse(rule).broken(NEW, base)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("served.ttft_p50", "record the server with `llmperf capture --auto`"),
        ("quartz.fjord", "the parts are decode, decode[8x1..7], totals"),
        ("decode.quartz_fjord", "`decode` has mfu_busy, wall_ns"),
        ("decode[8x1..7].flop", "did you mean `decode[8x1..7].flops`"),
        ("decode.mfu_bsy", "did you mean `decode.mfu_busy`"),
    ],
)
def test_a_number_that_is_not_there_says_which_are(name: str, hint: str) -> None:
    found = dict.fromkeys(
        ("decode.mfu_busy", "decode.wall_ns", "decode.budget.host_ns", "decode[8x1..7].flops", "totals.n")
    )
    with pytest.raises(UsageError, match="no number called") as caught:
        Rule.parse(f"{name} > 5").broken(found)

    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("served.goodput_per_s", "--goodput ttft:500,tpot:50"),
        ("served.load_ns", "--load"),
        ("served.prompt_tokens", "no request began in the recording"),
        ("served.ttft_p90_ns", "takes 10 measured requests"),
        ("decode.tpot_p50_ns", "TPOT needs requests"),
        ("prefill.ttft_p50_ns", "TTFT needs requests"),
        ("requests[2x512].tpot_p90_ns", "takes 10 measured requests"),
        ("requests.ttft_sd_ns", "takes two measured requests"),
        ("decode.measured.sm_active_ratio", "--gpu-metrics"),
        ("decode.mfu_wall", "does not work on after the ranges"),
        ("prefill.mfu_busy", "MFU, MBU, FLOPs and bytes need a model"),
        ("prefill[1x512].flops", "MFU, MBU, FLOPs and bytes need a model"),
        ("decode.tokens_per_s", "tokens need"),
        ("decode.busy_ratio", "works on after the ranges"),
        ("trace.duration_ns", "see the warnings"),
    ],
)
def test_a_number_that_is_not_known_says_what_it_lacks(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="is not known in the report") as caught:
        Rule.parse(f"{name} > 5").broken({name: None})

    assert hint in (caught.value.hint or "")


def report_of(is_lower: bool, is_upper: bool, mfu: float | None = 0.3, **more: float | None) -> dict[str, object]:
    row = {"mfu_busy": mfu, "sol_ns": 6e6, "is_lower_bound": is_lower, "is_upper_bound": is_upper, **more}
    return {"phases": [{"name": "prefill", "wall_ns": 20e6, **row, "shapes": [{"shape": "1x8", **row}]}]}


EXACT, LEAST = report_of(False, False), report_of(True, False)
MOST, NEITHER = report_of(False, True), report_of(True, True)
BETWEEN = report_of(False, False, None, mfu_busy_min=0.2, mfu_busy_max=0.4)


# What is true is at least 0.3, at most 0.3, anything, or between 0.2 and 0.4: by hand, a rule holds for all of these
# (it is broken), for none (it is not), or for some.
@pytest.mark.parametrize(
    ("report", "rule", "said"),
    [
        (LEAST, "prefill.mfu_busy < 0.3", None),
        (LEAST, "prefill.mfu_busy <= 0.2", None),
        (LEAST, "prefill.mfu_busy > 0.2", "prefill.mfu_busy is at least 0.3"),
        (LEAST, "prefill.mfu_busy >= 30%", "prefill.mfu_busy is at least 30 %"),
        (LEAST, "prefill.mfu_busy == 0.2", None),
        (LEAST, "prefill.mfu_busy != 0.2", "prefill.mfu_busy is at least 0.3"),
        (LEAST, "prefill[1x8].sol > 5ms", "prefill[1x8].sol is at least 6 ms"),
        (LEAST, "prefill.wall > 5ms", "prefill.wall is 20 ms"),
        (MOST, "prefill.mfu_busy > 0.3", None),
        (MOST, "prefill.mfu_busy >= 0.4", None),
        (MOST, "prefill.mfu_busy < 0.4", "prefill.mfu_busy is at most 0.3"),
        (MOST, "prefill.mfu_busy <= 0.3", "prefill.mfu_busy is at most 0.3"),
        (MOST, "prefill.mfu_busy == 0.4", None),
        (BETWEEN, "prefill.mfu_busy < 0.5", "prefill.mfu_busy is 0.2 to 0.4"),
        (BETWEEN, "prefill.mfu_busy > 0.4", None),
    ],
)
def test_a_bound_decides_what_it_can(report: dict[str, object], rule: str, said: str | None) -> None:
    broken = Rule.parse(rule).broken(numbers(report), bounds=bounds(report))
    assert broken == (said and f"{rule}: {said}")


@pytest.mark.parametrize(
    ("report", "rule", "said"),
    [
        (LEAST, "prefill.mfu_busy < 0.35", "at least 0.3"),
        (LEAST, "prefill.mfu_busy > 0.3", "at least 0.3"),
        (LEAST, "prefill.mfu_busy == 0.3", "at least 0.3"),
        (LEAST, "prefill.mfu_busy != 0.5", "at least 0.3"),
        (LEAST, "prefill[1x8].mfu_busy < 0.35", "at least 0.3"),
        (MOST, "prefill.mfu_busy < 0.3", "at most 0.3"),
        (MOST, "prefill.mfu_busy > 0.2", "at most 0.3"),
        (NEITHER, "prefill.mfu_busy < 0.9", "about 0.3"),
        (NEITHER, "prefill.mfu_busy > 0.1", "about 0.3"),
        (BETWEEN, "prefill.mfu_busy < 0.3", "0.2 to 0.4"),
    ],
)
def test_a_bound_that_decides_nothing_is_no_success(report: dict[str, object], rule: str, said: str) -> None:
    with pytest.raises(UsageError, match="cannot be decided") as caught:
        Rule.parse(rule).broken(numbers(report), bounds=bounds(report))
    assert caught.value.message.endswith(f" is {said}")


def change(base: dict[str, object], report: dict[str, object]) -> str | None:
    rule = Rule.parse("prefill.mfu_busy < -5%")
    return rule.broken(numbers(report), numbers(base), bounds=bounds(report), base_bounds=bounds(base))


@pytest.mark.parametrize(
    ("base", "report", "said"),
    [
        # Both are off by the same: what changed is the time.
        (LEAST, report_of(True, False, 0.27), "at least 0.3 to at least 0.27, -10.0 %"),
        (MOST, report_of(False, True, 0.27), "at most 0.3 to at most 0.27, -10.0 %"),
        (NEITHER, report_of(True, True, 0.27), "about 0.3 to about 0.27, -10.0 %"),
        (NEITHER, NEITHER, None),
        # At most 0.27 of what was 0.3, or 0.27 of what was at least 0.3.
        (EXACT, report_of(False, True, 0.27), "0.3 to at most 0.27"),
        (LEAST, report_of(False, False, 0.27), "at least 0.3 to 0.27"),
        (EXACT, LEAST, None),
        (MOST, EXACT, None),
    ],
)
def test_changes_of_bounds(base: dict[str, object], report: dict[str, object], said: str | None) -> None:
    assert change(base, report) == (said and f"prefill.mfu_busy < -5%: prefill.mfu_busy went from {said}")


@pytest.mark.parametrize(
    ("base", "report"), [(EXACT, report_of(True, False, 0.27)), (EXACT, MOST), (LEAST, MOST), (LEAST, EXACT)]
)
def test_changes_that_nobody_can_tell(base: dict[str, object], report: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot be decided"):
        change(base, report)


@pytest.mark.parametrize(
    "name", ["decode.wall", "decode.gpu_busy_ns", "decode.budget.host", "decode[1x1].flops", "decode.tokens"]
)
def test_sums_over_other_numbers_of_occurrences_are_no_change(name: str) -> None:
    def run(steps: int) -> dict[str, float | None]:
        phase = {
            "wall_ns": 20 * steps,
            "gpu_busy_ns": 10 * steps,
            "tokens": 8 * steps,
            "budget": {"host_ns": 7 * steps},
        }
        shape = {"shape": "1x1", "occurrences": steps, "flops": 5 * steps}
        counts = {"occurrences": steps + 1, "cold_occurrences": 1, "measured_occurrences": steps, "median_wall_ns": 20}
        return numbers({"phases": [{"name": "decode", **counts, **phase, "shapes": [shape]}]})

    rule = Rule.parse(f"{name} > +5%")
    assert rule.broken(run(4), run(4)) is None
    with pytest.raises(UsageError, match="is a sum over 8 occurrences, and over 4 in the base"):
        rule.broken(run(8), run(4))
    for steady in ("decode.median_wall", "decode.step_wall"):
        assert Rule.parse(f"{steady} > +5%").broken(run(8), run(4)) is None
    assert Rule.parse("decode.occurrences > +5%").broken(run(8), run(4)) is not None


def test_rules_of_a_file() -> None:
    rules = read_rules("# limits\n\ndecode.mfu_busy < 0.1  # low\nprefill.wall_ns > +3%\n")

    assert [(rule.name, rule.value, rule.is_relative) for rule in rules] == [
        ("decode.mfu_busy", 0.1, False), ("prefill.wall_ns", 0.03, True),
    ]  # fmt: skip


def test_a_rule_of_a_file_that_cannot_be_read_has_its_line() -> None:
    with pytest.raises(UsageError) as caught:
        read_rules("# limits\n\ndecode.mfu_busy < 0.1\n  prefill.wall_ns >> 3%  # twice\n", "ci.rules")

    assert caught.value.message.split("\n") == [
        "ci.rules, line 4: the rule cannot be read: a number belongs here, as in 0.35, 20ms or +5%",
        "    prefill.wall_ns >> 3%",
        "                     ^",
    ]


def test_every_number_of_a_report_has_a_name() -> None:
    report = {
        "trace": {"duration_ns": 9}, "totals": {"kernel_count": 1},
        "unattributed": {"reasons": {"no_range": {"count": 2}}},
        "phases": [
            {
                "name": "decode", "occurrences": 5, "warmup_occurrences": 1, "wall_ns": 100, "warmup_wall_ns": 20,
                "gpu_busy_ns": 50, "warmup_busy_ns": 10, "tokens": 8, "measured_wall_ns": 80, "mfu_busy": None,
                "bound": "host-bound", "budget": {"host_ns": 7}, "shapes": [{"shape": "1x1", "mfu_busy": 0.5}],
            }
        ],
        "requests": [{"shape": "1x128", "requests": 2, "ttft_p50_ns": 3, "tpot_p50_ns": 4}],
    }  # fmt: skip

    found = numbers(report)

    assert found["decode.budget.host_ns"] == 7
    assert found["decode.step_wall_ns"] == 20
    assert found["decode.step_busy_ns"] == 10
    assert found["decode.tokens_per_s"] == 1e8
    assert found["decode[1x1].mfu_busy"] == 0.5
    assert found["unattributed.reasons.no_range.count"] == 2
    assert (found["decode.tpot_p50_ns"], found["prefill.ttft_p50_ns"], found["requests.requests"]) == (4, 3, 2)
    assert found["decode.mfu_busy"] is None
    assert "decode.bound" not in found


@pytest.mark.parametrize(("busy_ratio", "rate"), [(0.5, 1e8), (None, None)])
def test_tokens_per_s_is_not_known_where_launches_run_ahead_of_the_gpu(
    busy_ratio: float | None, rate: float | None
) -> None:
    phase = {"name": "decode", "occurrences": 4, "wall_ns": 80, "gpu_busy_ns": 200, "tokens": 8}

    found = numbers({"phases": [phase | {"measured_wall_ns": 80, "busy_ratio": busy_ratio}]})

    assert found["decode.tokens_per_s"] == rate


def padded(**flags: bool) -> dict[str, object]:
    """A phase whose tokens, and so its MFU, may be of padding; HFU has the padding."""
    row = {"mfu_busy": 0.3, "hfu_busy": 0.4, "tokens": 100, "measured_wall_ns": 10**9, "launches_per_token": 2.0}
    return {"phases": [{"name": "decode", "occurrences": 1, "wall_ns": 10**9, **row, **flags}]}


PADDED = padded(is_lower_bound=False, is_upper_bound=True, is_tokens_upper_bound=True, is_hfu_upper_bound=False)
LACKING = padded(is_lower_bound=True, is_upper_bound=True, is_tokens_upper_bound=False, is_hfu_upper_bound=True)


@pytest.mark.parametrize(
    ("report", "rule", "said"),
    [
        (PADDED, "decode.hfu_busy < 0.5", "decode.hfu_busy is 0.4"),
        (PADDED, "decode.hfu_busy < 0.3", None),
        (PADDED, "decode.tokens_per_s < 200", "decode.tokens_per_s is at most 100"),
        (PADDED, "decode.tokens < 101", "decode.tokens is at most 100"),
        (PADDED, "decode.launches_per_token > 1", "decode.launches_per_token is at least 2"),
        (LACKING, "decode.tokens_per_s < 200", "decode.tokens_per_s is 100"),
        (LACKING, "decode.launches_per_token < 1", None),
    ],
)
def test_tokens_and_hfu_have_bounds_of_their_own(report: dict[str, object], rule: str, said: str | None) -> None:
    broken = Rule.parse(rule).broken(numbers(report), bounds=bounds(report))
    assert broken == (said and f"{rule}: {said}")


@pytest.mark.parametrize(
    ("report", "rule"),
    [(PADDED, "decode.tokens_per_s < 50"), (PADDED, "decode.launches_per_token < 3"), (LACKING, "decode.hfu_busy > 0")],
)
def test_what_their_bounds_leave_open_is_no_success(report: dict[str, object], rule: str) -> None:
    with pytest.raises(UsageError, match="cannot be decided"):
        Rule.parse(rule).broken(numbers(report), bounds=bounds(report))
