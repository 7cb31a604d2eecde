"""What range texts mean: a table of texts from public code, and what a text says of tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.rules.phases import PhaseRule, classify, shipped_rules

TABLE = Path(__file__).with_name("range_names.tsv")
ROWS = [tuple(line.split("\t")) for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def meaning(domain: str, name: str) -> str:
    role = classify(domain, name)
    return "none" if role is None else f"phase {role.phase}" if role.role == "phase" else role.role


@pytest.mark.parametrize(("domain", "name", "expected"), ROWS, ids=[f"{domain}:{name}" for domain, name, _ in ROWS])
def test_meaning_of_a_text(domain: str, name: str, expected: str) -> None:
    assert meaning(domain, name) == expected


def test_every_rule_has_a_text_in_the_table() -> None:
    used = {role.rule for domain, name, _ in ROWS if (role := classify(domain, name))}

    assert {rule.name for rule in shipped_rules()} <= used


@pytest.mark.parametrize(("domain", "name", "expected"), ROWS, ids=[f"{domain}:{name}" for domain, name, _ in ROWS])
def test_a_text_that_a_rule_knows_is_known_by_its_pattern(domain: str, name: str, expected: str) -> None:
    # Texts that differ in numbers alone are looked at one by one only if the text with 1 for each number is known.
    if expected != "none":
        assert meaning(domain, re.sub(r"\d+", "1", name)) != "none"


@pytest.mark.parametrize(
    ("text", "phase", "new_tokens"),
    [
        ("[Executor] _forward_step 10: 2 ctx reqs, 2048 ctx tokens, 8 gen reqs", "mixed", None),
        ("[Executor] _forward_step 11: 0 ctx reqs, 0 ctx tokens, 10 gen reqs", "decode", None),
        ("[Executor] _forward_step 12: 2 ctx reqs, 2048 ctx tokens, 0 gen reqs", "prefill", 2048),
        ("[Executor] _forward_step 13: 2 ctx reqs, 0 gen reqs", "prefill", None),
        ("[Executor] _forward_step: 2 ctx reqs, 3 gen reqs", "mixed", None),
        ("execute_context_1(512)_generation_7(9)", "mixed", 521),
        ("execute_context_0(0)_generation_7(7)", "decode", 7),
        ("decode", "decode", None),
    ],
)
def test_tokens_that_a_text_does_not_say_are_unknown(text: str, phase: str, new_tokens: int | None) -> None:
    role = classify("", text)

    assert role is not None
    assert (role.phase, role.new_tokens) == (phase, new_tokens)


def test_rules_of_the_user_may_say_what_is_no_phase() -> None:
    rules = (PhaseRule.excluding("^decode_all$"), PhaseRule.from_option("sample=^sampler"))

    excluded, named, known = (classify("", text, rules) for text in ("decode_all", "sampler 3", "decode_1"))

    assert excluded is not None
    assert (excluded.role, excluded.phase) == ("ignore", None)
    assert named is not None
    assert named.phase == "sample"
    assert known is not None
    assert known.phase == "decode"


@pytest.mark.parametrize("pattern", ["", "(", "["])
def test_a_malformed_expression_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError):
        PhaseRule.excluding(pattern)
