"""Rules that a run must not break: `decode.tpot_p50 > +5%`, `prefill.mfu_busy < 0.35`. A rule that holds is broken."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping

import attrs

from nsys_pipeline.compare.fields import Bounds, find, summed_over, those_near
from nsys_pipeline.errors import RuleError, UsageError
from nsys_pipeline.nearest import nearest
from nsys_pipeline.text import printable

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_UNITS = {
    "": 1.0, "%": 0.01, "ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "P": 1e15,
}  # fmt: skip
_TIMES = ("ns", "us", "µs", "ms", "s")
_NO_SHARES = ("_ns", "_count", "_per_s", "_bytes", "flops", "tokens", "occurrences", "requests")
# What has blanks in it stands in quotes: "repeat A".wall_ns.
_NAME = re.compile(r'(?:"[^"]*"|[^\s<>=!"])+')
_OPERATOR = re.compile(r">=|<=|==|!=|>|<")
_VALUE = re.compile(r"([+-]?)(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*([%\wµ]*)")
# What a number that is not known lacks, by its name; the first that fits.
_SEE = "see the warnings of `llmperf analyze`"
_WHY_UNKNOWN = (
    (
        r"t[tp]\w+_p9\d_ns$",
        "a 90th percentile takes 10 measured requests, a 99th takes 100: gate on the median, `_p50`",
    ),
    (r"^served\.good", "goodput needs limits, as in --goodput ttft:500,tpot:50, and requests whose arrival is marked"),
    (r"^served\.load_ns$", "how long the load ran is known of a run of `llmperf capture --load`"),
    (
        r"^served\.(?!t[tp])",
        "no request began in the recording, or none ended: record from before the first one, until the last one ends",
    ),
    (r"_sd\w*$", "a standard deviation takes two measured requests or more"),
    (r"ttft_\w+$", f"TTFT needs requests that are marked, with a prefill that is neither cold nor warm-up: {_SEE}"),
    (
        r"tpot_\w+$",
        f"TPOT needs requests that are marked, decode steps after one prompt, none cold, and no drafts: {_SEE}",
    ),
    (r"\.measured\.", "GPU counters are recorded with `llmperf capture --gpu-metrics`"),
    (r"m[fb]u_wall", f"it needs a model, a shape and peaks, and a GPU that does not work on after the ranges: {_SEE}"),
    (
        r"[mh][fb]u_|flops|bytes|\.sol_|\.compute_ns|\.memory_ns",
        f"MFU, MBU, FLOPs and bytes need a model, a shape and peaks: {_SEE}",
    ),
    (
        r"\.tokens_per_s$",
        f"tokens need a model, the lengths of the steps, and a GPU that does not work on after the ranges: {_SEE}",
    ),
    (r"token|measured_", f"tokens need a model and the lengths of the steps: {_SEE}"),
    (r"busy_ratio$", f"the GPU works on after the ranges, so that it has no share of them: {_SEE}"),
    ("", _SEE),
)


@attrs.frozen
class Rule:
    """`name` `comparison` `value`. With `is_relative`, value is a change against a base: 0.05 is five per cent more."""

    text: str
    name: str
    comparison: str
    value: float
    is_relative: bool
    unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read `NAME OPERATOR VALUE`. Raises UsageError that points at the character where it stops making sense.

        A value may have a unit: %, ns, us, ms, s, k, M, G, T or P. With a sign and per cent it is relative: `+5%`.
        """
        at = len(text) - len(text.lstrip())
        if not (name := _NAME.match(text, at)):
            raise _error(text, at, "the name of a number belongs here, as in decode.mfu_busy")
        at = _after_blanks(text, name.end())
        if not (comparison := _OPERATOR.match(text, at)):
            raise _error(text, at, "one of > < >= <= == != belongs here")
        at = _after_blanks(text, comparison.end())
        if not (value := _VALUE.match(text, at)):
            raise _error(text, at, "a number belongs here, as in 0.35, 20ms or +5%")
        sign, digits, unit = value.groups()
        if unit not in _UNITS:
            raise _error(text, value.start(3), f"`{unit}` is not a unit: {', '.join(key for key in _UNITS if key)}")
        at = _after_blanks(text, value.end())
        if at < len(text):
            raise _error(text, at, "the rule ends before this")
        if sign and unit != "%" and (unit or sign == "+"):
            raise _error(text, value.start(1), "a change is in per cent, as in +5%, and other numbers have no sign")
        number = float(digits) * _UNITS[unit] * (-1 if sign == "-" else 1)
        if math.isinf(number):
            raise _error(text, value.start(2), "the number is too large")
        plain = name[0].replace('"', "")
        return cls(text.strip(), plain, comparison[0], number, is_relative=bool(sign) and unit == "%", unit=unit)

    def broken(
        self,
        new: Mapping[str, float | None],
        base: Mapping[str, float | None] | None = None,
        *,
        bounds: Mapping[str, Bounds] | None = None,
        base_bounds: Mapping[str, Bounds] | None = None,
    ) -> str | None:
        """What happened if the rule holds for the numbers `new`, in one line; None if it does not.

        `bounds`, `base_bounds`: those that are not exact, and between what they lie. Raises UsageError if a number
        does not exist, is not known, or not well enough to tell, or if a relative rule has no base.
        """
        there = (bounds or {}).get(find(new, self.name) or "")
        value = self._number(new, "the report", there)
        if not self.is_relative:
            said = f"{self.name} is {self._between(value, there)}"
            return f"{self.text}: {said}" if self._holds(there or Bounds(value, value), said) else None
        if base is None:
            raise UsageError(
                f"`{self.text}` compares with a base, and there is none",
                hint="use it with `llmperf diff BASE NEW`, or give `--base`",
            )
        was = (base_bounds or {}).get(find(base, self.name) or "")
        before = self._number(base, "the base", was)
        self._check_occurrences(new, base)
        change = _change(before, value)
        changes = Bounds(change, change)
        if not _alike(there, was):
            here, gone = there or Bounds(value, value), was or Bounds(before, before)
            changes = Bounds(_change(gone.high, here.low), _change(gone.low, here.high))
        said = f"{self.name} went from {self._between(before, was)} to {self._between(value, there)}"
        if not self._holds(changes, said):
            return None
        exact = f", {change * 100:+.1f} %" if changes.low == changes.high else ""
        return f"{self.text}: {said}{exact}"

    def _holds(self, bounds: Bounds, said: str) -> bool:
        """Whether the rule holds for whatever lies between; raises UsageError if it may and may not."""
        holds = {_OPERATORS[self.comparison](each, self.value) for each in (bounds.low, bounds.high)}
        if self.comparison in ("==", "!=") and bounds.low < self.value < bounds.high:
            holds = {True, False}
        if len(holds) > 1:
            raise UsageError(
                f"`{self.text}` cannot be decided: {said}",
                hint="give what the warnings of `llmperf analyze` ask for, or gate on a time, which is exact",
            )
        return holds.pop()

    def _between(self, value: float, bounds: Bounds | None) -> str:
        """In words: as it is, at least, at most, or between."""
        if bounds is None:
            return self._written(value)
        if bounds.is_nothing:
            return f"about {self._written(value)}"
        if math.isinf(bounds.high):
            return f"at least {self._written(bounds.low)}"
        if not bounds.low:
            return f"at most {self._written(bounds.high)}"
        return f"{self._written(bounds.low)} to {self._written(bounds.high)}"

    def _written(self, value: float) -> str:
        """In the rule's unit; as it is in the report if the rule is about a change."""
        unit = "" if self.is_relative else self.unit
        scaled = value / _UNITS[unit]
        written = f"{scaled:,.6g}" if abs(scaled) < 1e6 or scaled % 1 else f"{scaled:,.0f}"
        return f"{written} {unit}".rstrip()

    def _number(self, numbers: Mapping[str, float | None], where: str, bounds: Bounds | None) -> float:
        name = find(numbers, self.name)
        if name is None:
            # Of a server's numbers all are named: nobody guesses what they are called.
            is_served = self.name.startswith("served.")
            near = None if is_served else nearest(self.name, numbers, None)
            raise UsageError(
                f"`{self.text}`: {where} has no number called `{self.name}`",
                hint=near or those_near(numbers, self.name),
            )
        self._check_unit(name)
        value = numbers[name]
        if value is None and bounds is not None:
            return bounds.low
        if value is None:
            raise UsageError(
                f"`{self.text}`: {self.name} is not known in {where}",
                hint=next(hint for pattern, hint in _WHY_UNKNOWN if re.search(pattern, name)),
            )
        return value

    def _check_occurrences(self, new: Mapping[str, float | None], base: Mapping[str, float | None]) -> None:
        """Raise UsageError for a sum over more or fewer occurrences than in the base: it changes with their number."""
        name = find(new, self.name) or self.name
        here, there = summed_over(new, name), summed_over(base, name)
        if here and there and here[1] != there[1]:
            raise UsageError(
                f"`{self.text}`: {name} is a sum over {here[1]:.0f} occurrences, and over {there[1]:.0f} in the base",
                hint="PHASE.median_wall, .median_busy, .step_wall and .step_busy are of one occurrence",
            )

    def _check_unit(self, name: str) -> None:
        """Raise UsageError for a unit that `name` does not have: such a rule would always be broken, or never."""
        if self.is_relative:
            return
        if self.unit == "%" and name.endswith(_NO_SHARES):
            raise UsageError(
                f"`{self.text}`: {name} is no share of anything, so not in per cent",
                hint=f"a change against a base has a sign: {self.name} {self.comparison} +5%",
            )
        if self.unit in _TIMES and not name.endswith("_ns"):
            raise UsageError(f"`{self.text}`: {name} is no time, so not in {self.unit}")


def _change(before: float, value: float) -> float:
    """By how much of `before` a number went up."""
    if math.isinf(before):
        return -1.0
    if before == 0:
        return 0.0 if value == 0 else math.copysign(math.inf, value)
    return (value - before) / abs(before)


def _alike(one: Bounds | None, other: Bounds | None) -> bool:
    """Whether both are exact, or both at least or both at most: of one program, they are off by the same."""
    if one is None or other is None:
        return one is other
    is_open = math.isinf(one.high)
    if is_open != math.isinf(other.high) or bool(one.low) != bool(other.low):
        return False
    return is_open or not one.low


def read_rules(text: str, file: str = "the file") -> list[Rule]:
    """Rules of a file, one a line; empty lines and what follows `#` do not count. Raises UsageError with the line."""
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        rule = line.partition("#")[0].rstrip()
        if not rule.strip():
            continue
        try:
            rules.append(Rule.parse(rule))
        except RuleError as error:
            raise RuleError(f"{file}, line {number}: {error.message}", hint=error.hint) from error
    return rules


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _error(text: str, at: int, problem: str) -> RuleError:
    shown = printable(text)
    return RuleError(f"the rule cannot be read: {problem}\n  {shown}\n  {' ' * at}^")
