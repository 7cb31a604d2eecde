"""Which role an NVTX range plays: a phase, a request, a warm-up, or none."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import attrs

from nsys_pipeline import markers
from nsys_pipeline.errors import UsageError
from nsys_pipeline.rules.stated import StatedStep, number

ROLES = ("phase", "request", "warmup", "ignore")
# Ranges of our own domain that subdivide a phase; every other name there is a phase (Contract 1, docs/architecture.md).
SUBSTAGE = re.compile(r"^(vision|layer|op)\.")

_FOR_THE_REST = "choose another name: this is what llmperf calls the work in no phase"
# Names that the report, or a range, has another meaning for. Compared without case, blanks, dashes and underscores.
_RESERVED = {
    "outside": _FOR_THE_REST,
    "unattributed": _FOR_THE_REST,
    "warmup": "ranges that are called `warmup` leave what is inside them out; choose another name for a phase",
    "request": "ranges that are called `request` group phases into requests; choose another name for a phase",
}


@attrs.frozen
class RangeRole:
    """What one range text means. `stated`: what it says about the step's requests."""

    role: str
    phase: str | None = None
    rule: str = ""
    is_weak: bool = False
    is_container: bool = False
    stated: StatedStep | None = None

    @property
    def new_tokens(self) -> int | None:
        """Tokens that the text says go through the model, over the batch."""
        return self.stated.new_tokens if self.stated else None


@attrs.frozen
class PhaseRule:
    """One rule of the file, or of the user's."""

    name: str
    pattern: re.Pattern[str]
    role: str = "phase"
    phase: str | None = None
    is_weak: bool = False
    is_container: bool = False

    @classmethod
    def from_option(cls, option: str) -> PhaseRule:
        """Read `NAME=REGEX`. Raises UsageError where either half is missing or the expression is malformed."""
        name, equals, pattern = option.partition("=")
        if not (name.strip() and equals and pattern):
            raise UsageError(
                f"`--phase {option}` is not NAME=REGEX", hint="for example --phase 'decode=^gen_step_\\d+$'"
            )
        if hint := _RESERVED.get(re.sub(r"[\s_-]+", "", name.strip().lower())):
            raise UsageError(f"`{name.strip()}` cannot be the name of a phase: llmperf uses it itself", hint=hint)
        try:
            return cls(name=f"--phase {name}", pattern=re.compile(pattern), phase=name.strip())
        except re.error as error:
            raise UsageError(
                f"`{pattern}` is no regular expression: {error}",
                hint="quote it for the shell, and escape ( ) [ ] with \\",
            ) from error

    def match(self, subject: str) -> RangeRole | None:
        """Role of a range whose `domain:text` is `subject`, None where the rule does not match."""
        found = self.pattern.search(subject)
        if not found:
            return None
        groups = found.groupdict()
        phase = self.phase or (groups.get("phase") or "").lower() or None
        if self.role == "phase" and phase is None:
            context, generation = (number(groups.get(f"{kind}_requests")) for kind in ("context", "generation"))
            phase = "mixed" if context and generation else markers.PREFILL if context else markers.DECODE
            if not context and not generation:
                return None
        return RangeRole(
            role=self.role,
            phase=phase if self.role == "phase" else None,
            rule=self.name,
            is_weak=self.is_weak,
            is_container=self.is_container,
            stated=StatedStep.read(groups) if self.role == "phase" else None,
        )


@cache
def shipped_rules() -> tuple[PhaseRule, ...]:
    """The rules of `phases.toml`, in order."""
    data = tomllib.loads(Path(__file__).with_name("phases.toml").read_text(encoding="utf-8"))
    return tuple(
        PhaseRule(
            name=rule["name"],
            pattern=re.compile(rule["pattern"]),
            role=rule.get("role", "phase"),
            phase=rule.get("phase"),
            is_weak=rule.get("weak", False),
            is_container=rule.get("container", False),
        )
        for rule in data["rule"]
    )


def classify(domain: str, name: str, user_rules: Sequence[PhaseRule] = ()) -> RangeRole | None:
    """Role of a range, None for a range that only gives detail. The user's rules come before everything else."""
    subject = f"{domain}:{name}" if domain else name
    for rule in user_rules:
        if found := rule.match(subject):
            return found
    if domain == markers.DOMAIN:
        if name in (markers.WARMUP, markers.REQUEST):
            return RangeRole(role=name, rule="contract")
        return None if SUBSTAGE.match(name) or not name else RangeRole(role="phase", phase=name, rule="contract")
    for rule in shipped_rules():
        if found := rule.match(subject):
            return None if found.role == "ignore" else found
    return None
