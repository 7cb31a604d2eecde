"""Which role an NVTX range plays: a phase, a request, a warm-up, a library's, or none."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.errors import UsageError
from nsys_pipeline.rules.stated import StatedStep, number

# Roles of ranges that belong to a library: they mark neither a phase nor work of the thread's own.
LIBRARY_ROLES = ("library", "autograd")
# A range is no phase where one of greater strength encloses it: it is a part of that one.
STRONG, WEAK, FRAMEWORK, CONTAINER = 3, 2, 1, 0
# Ranges of our own domain that subdivide a phase, or say what is recorded; every other name there is a phase (contract
# 1).
SUBSTAGE = re.compile(r"^(?:(?:vision|layer|op)\.|recording$)")

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
    """What one range text means. `stated`: what it says about the step's requests.

    `is_certain`: the contract or the user says so, and no rule that reads texts. A role that is no phase, request or
    warm-up only says whose the range is.
    """

    role: str
    phase: str | None = None
    rule: str = ""
    strength: int = STRONG
    is_certain: bool = False
    stated: StatedStep | None = None

    @property
    def new_tokens(self) -> int | None:
        """Tokens that the text says go through the model, over the batch."""
        return self.stated.new_tokens if self.stated else None

    @property
    def is_container(self) -> bool:
        """Whether a phase has, around other phases, their rest alone."""
        return self.strength == CONTAINER


@attrs.frozen
class PhaseRule:
    """One rule of the file, or of the user's."""

    name: str
    pattern: re.Pattern[str]
    role: str = "phase"
    phase: str | None = None
    strength: int = STRONG
    #: Each text that matches is a phase of its own, and no other range is one.
    is_text: bool = False

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
        return cls(name=f"--phase {name}", pattern=_compiled(pattern), phase=name.strip())

    @classmethod
    def excluding(cls, pattern: str) -> PhaseRule:
        """The rule of `--not-phase`: ranges that match are nothing. Raises UsageError for a malformed expression."""
        if not pattern:
            raise UsageError("`--not-phase` needs an expression", hint="for example --not-phase '^decode_loop$'")
        return cls(name="--not-phase", pattern=_compiled(pattern), role="ignore")

    @classmethod
    def of_ranges(cls, pattern: str) -> PhaseRule:
        """The rule of `--range`: what matches is a phase, called as its text. Raises UsageError for a malformed one."""
        if not pattern:
            raise UsageError("`--range` needs an expression", hint="for example --range '^layer'")
        return cls(name=f"--range {pattern}", pattern=_compiled(pattern), is_text=True)

    @property
    def option(self) -> str:
        """How the rule is written on the command line."""
        if self.is_text:
            return self.name
        return f"--not-phase {self.pattern.pattern}" if self.role == "ignore" else f"{self.name}={self.pattern.pattern}"

    def match(self, subject: str) -> RangeRole | None:
        """Role of a range whose `domain:text` is `subject`, None where the rule does not match."""
        found = self.pattern.search(subject)
        if not found:
            return None
        if self.role != "phase":
            return RangeRole(role=self.role, rule=self.name)
        if self.is_text:
            return RangeRole(role=self.role, phase=_phase_of_text(subject), rule=self.name, strength=self.strength)
        groups = found.groupdict()
        phase = self.phase or (groups.get("phase") or "").lower() or None
        if phase is None:
            context, generation = (number(groups.get(f"{kind}_requests")) for kind in ("context", "generation"))
            if not context and not generation:
                return None
            phase = "mixed" if context and generation else markers.PREFILL if context else markers.DECODE
        return RangeRole(
            role=self.role,
            phase=_phase_names().get(phase, phase) if self.phase is None else phase,
            rule=self.name,
            strength=self.strength,
            stated=StatedStep.read(groups),
        )


def _phase_of_text(text: str) -> str:
    """Texts that differ in numbers alone are one phase."""
    name = re.sub(r"\d+", "N", text.strip())
    return f"range {name}".rstrip() if not name or re.sub(r"[\s_-]+", "", name.lower()) in _RESERVED else name


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"`{pattern}` is no regular expression: {error}",
            hint="quote it for the shell, and escape ( ) [ ] with \\",
        ) from error


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("phases.toml").read_text(encoding="utf-8"))


def _phase_names() -> dict[str, str]:
    names: dict[str, str] = _file()["phase_names"]
    return names


@cache
def shipped_rules() -> tuple[PhaseRule, ...]:
    """The rules of `phases.toml`, in order."""
    rules = []
    for rule in _file()["rule"]:
        pattern = rule["pattern"]
        for piece, text in _file()["pieces"].items():
            pattern = pattern.replace(f"<{piece}>", text)
        rules.append(
            PhaseRule(
                name=rule["name"],
                pattern=re.compile(pattern, re.VERBOSE if rule.get("verbose", False) else 0),
                role=rule.get("role", "phase"),
                phase=rule.get("phase"),
                strength=rule.get("strength", STRONG),
            )
        )
    return tuple(rules)


def classify(domain: str, name: str, user_rules: Sequence[PhaseRule] = ()) -> RangeRole | None:
    """Role of a range, None for a range that only gives detail. The user's rules come before everything else."""
    subject = f"{domain}:{name}" if domain else name
    for rule in user_rules:
        if found := rule.match(subject):
            return attrs.evolve(found, is_certain=True)
    found = _known(domain, name, subject)
    if found and found.role == "phase" and any(rule.is_text for rule in user_rules):
        return None
    return found


def _known(domain: str, name: str, subject: str) -> RangeRole | None:
    """Role by the contract and the shipped rules."""
    if domain == markers.DOMAIN:
        if name in (markers.WARMUP, markers.REQUEST):
            return RangeRole(role=name, rule="contract")
        if SUBSTAGE.match(name):
            return RangeRole(role="library", rule="contract")
        return RangeRole(role="phase", phase=name, rule="contract", is_certain=True) if name else None
    for rule in shipped_rules():
        if found := rule.match(subject):
            return found
    return None
