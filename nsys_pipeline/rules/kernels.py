"""Which family a GPU kernel belongs to, read from its name."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import attrs

OTHER = "other"
# Templates inside templates that are taken out; what lies deeper is cut off. SQL has one replacement for each.
TEMPLATE_DEPTH = 12


@attrs.frozen
class KernelRule:
    """One rule of the file. `carrier`: what kind of template it is that does what its arguments say, else None."""

    pattern: re.Pattern[str]
    family: str
    is_of_scope: bool = False
    carrier: str | None = None


@attrs.frozen
class OperatorRule:
    """What a template of kind `carrier` does if the pattern is found in its whole name."""

    pattern: re.Pattern[str]
    family: str
    carrier: str


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("kernels.toml").read_text(encoding="utf-8"))


@cache
def kernel_rules() -> tuple[KernelRule, ...]:
    """Rules for the name of the function, in order."""
    return tuple(
        KernelRule(re.compile(one["pattern"]), one["family"], one.get("in") == "scope", one.get("carrier"))
        for one in _file()["rule"]
    )


@cache
def operator_rules() -> tuple[OperatorRule, ...]:
    """Rules for the arguments of templates, in order."""
    return tuple(OperatorRule(re.compile(one["pattern"]), one["family"], one["of"]) for one in _file()["operator"])


def families() -> list[str]:
    """Every family, in the order of the rules, `other` last."""
    found = dict.fromkeys([one.family for one in kernel_rules()] + [one.family for one in operator_rules()])
    return [*(family for family in found if family != OTHER), OTHER]


def function_name(full_name: str) -> str:
    """Name of a function with its scopes, without return type, template arguments and parameters."""
    name = full_name.replace("<unnamed>", "unnamed").replace("(anonymous namespace)", "unnamed")
    name = re.sub(r"->|operator *[<>]+", "", name)
    for _ in range(TEMPLATE_DEPTH):
        name = re.sub("<[^<>]*>", "", name)
    found = re.search(r"^(?:[^(<]*[ *&])?([^ (<*&]+)", name)
    return found[1] if found else ""


def short_name(full_name: str) -> str:
    """The last part of `function_name`, as nsys' own short names have it; the name itself where there is none."""
    return function_name(full_name).rpartition("::")[2] or full_name


def kernel_family(short_name: str | None, full_name: str | None = None) -> str:
    """Family of the kernel with these names; 'other' where no rule knows it."""
    full = full_name or short_name or ""
    scoped = function_name(full)
    name = scoped.rpartition("::")[2]
    for rule in kernel_rules():
        if rule.pattern.search(scoped if rule.is_of_scope else name):
            return rule.family if rule.carrier is None else _carried(full, rule.carrier, rule.family)
    return OTHER


def _carried(full_name: str, carrier: str, otherwise: str) -> str:
    for rule in operator_rules():
        if rule.carrier == carrier and rule.pattern.search(full_name):
            return rule.family
    return otherwise
