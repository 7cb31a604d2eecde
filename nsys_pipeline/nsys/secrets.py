"""Find secrets in environments and on command lines, and take them out of what is written down.

A value is secret when its name says so (`HF_TOKEN`, `--api-key`), when it stands where credentials stand (an
`Authorization` header, a URL), or when it has the shape of a well-known kind of key.
"""

from __future__ import annotations

import mmap
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

REDACTED = "***"

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE)
_ASSIGNMENT = re.compile(rb"[A-Za-z_][A-Za-z0-9_.()%-]*=")
# A shorter value says little, and replacing it would hit words that only look like it.
_SHORTEST = 8

_FLAG = re.compile(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", re.DOTALL)
_SECRET_WORDS = frozenset(
    {"token", "secret", "password", "passwd", "passphrase", "credential", "credentials", "apikey", "bearer", "auth"}
)
_SECRET_PAIRS = frozenset({("api", "key"), ("access", "key"), ("private", "key")})
# `--eos-token`, `--token-id`, `--token-file`, `--auth-type`: words that name a kind, a number or a place.
_NO_SECRET_WORDS = frozenset(
    {
        "bos", "eos", "pad", "unk", "sep", "cls", "mask", "stop", "special", "image", "video", "audio", "start",
        "end", "first", "next", "last", "new", "max", "min", "num", "per", "id", "ids", "file", "path", "dir",
        "type", "mode", "name", "count", "length", "len", "size", "budget", "limit", "rate", "level",
        "classification", "parallel", "tree", "url",
    }
)  # fmt: skip
# As JSON and Python have it: `{"api_key": "…"}`.
_PAIR = re.compile(r"""["']?([A-Za-z][\w.-]*)["']?\s*[:=]\s*["']([^"']{8,})["']""")
_IN_A_WORD = (
    # A header, as in `-H "Authorization: Bearer …"`.
    re.compile(r"(?i)\b(?:proxy-)?authorization\s*[:=]\s*(?:(?:bearer|basic|token)\s+)?([^\s\"',]+)"),
    re.compile(r"(?i)\bbearer\s+([\w.~+/=-]{8,})"),
    re.compile(r"(?i)\b(?:x-)?(?:api-key|auth-token|access-token)\s*:\s*([^\s\"',]+)"),
    # https://user:password@host, https://host?token=…
    re.compile(r"\w://[^\s/:@]*:([^\s/@]+)@"),
    re.compile(r"(?i)[?&](?:[\w-]*token|api_?key|key|sig|signature|password|secret)=([^&#\s]+)"),
    # Keys of Hugging Face, OpenAI and Anthropic, GitHub, GitLab, AWS, Slack, Google and NVIDIA; JSON web tokens.
    re.compile(r"\b(hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,})"),
    re.compile(r"\b((?:AKIA|ASIA)[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|nvapi-[\w-]{20,})"),
    re.compile(r"\b(eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*)"),
)


def secrets_of(environment: Mapping[str, str], command: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Secrets by name: the variables of `environment` and what `command` gives away (see `command_secrets`)."""
    found = [
        (name, value) for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST
    ]
    return found + command_secrets(command)


def command_secrets(command: Iterable[str]) -> list[tuple[str, str]]:
    """Secrets on a command line, by the flag, the variable or the word "command line".

    Words of more than one word (`sh -c "…"`) are command lines, too.
    """
    command = list(command)
    words = list(_words(command))
    found: dict[str, str] = {}
    for name, text in _named(words):
        # What ends a word of a shell.
        value = text.rstrip(";&|)'\"`,")
        if len(value) >= _SHORTEST and not value.isdigit():
            found.setdefault(value, name)
    for word in dict.fromkeys([*command, *words]):
        for name, value in _PAIR.findall(word):
            if _is_secret_flag(name):
                found.setdefault(value, name)
        for pattern in _IN_A_WORD:
            for value in pattern.findall(word):
                if len(value) >= _SHORTEST:
                    found.setdefault(value, "command line")
    return [(name, value) for value, name in found.items()]


def _named(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        if _ASSIGNMENT.match(os.fsencode(word)):
            name, _, value = word.partition("=")
            if _SECRET_NAME.search(name):
                yield name, value
        elif (flag := _FLAG.fullmatch(word)) and _is_secret_flag(flag[1]):
            if flag[2] is not None:
                yield f"--{flag[1]}", flag[2]
            elif not after.startswith("-"):
                yield f"--{flag[1]}", after


def _is_secret_flag(name: str) -> bool:
    words = [word for word in re.split(r"[-_.]|(?<=[a-z])(?=[A-Z])", name) if word]
    words = [word.lower() for word in words]
    if _NO_SECRET_WORDS & set(words):
        return False
    return bool(_SECRET_WORDS & set(words)) or bool(_SECRET_PAIRS & set(pairwise(words)))


def _words(command: Sequence[str]) -> Iterator[str]:
    """The words of a command line, and after one that is a command line itself the words of that.

    What follows `-c`, as of a shell, is nothing but one.
    """
    for before, word in zip(["", *command], command, strict=False):
        has_words = re.search(r"[ \t\r\n]", word)
        if not (has_words and re.fullmatch(r"-\w*c", before)):
            yield word
        if has_words:
            try:
                inner = shlex.split(word)
            except ValueError:
                inner = word.split()
            yield from _words([part for part in inner if part != word])


def leaked_variables(path: Path, environment: Mapping[str, str], command: Iterable[str] = ()) -> list[str]:
    """Names of the secrets (see `secrets_of`) whose value is in the file, byte for byte."""
    secrets = secrets_of(environment, command)
    if not secrets or path.stat().st_size == 0:
        return []
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sorted({name for name, value in secrets if content.find(os.fsencode(value)) >= 0})


def redacted(content: Any, secrets: Iterable[str]) -> Any:
    """`content`, as JSON has it, with each of `secrets` in its strings replaced by `***`."""
    if isinstance(content, str):
        # The longest first: one value may be a part of another.
        for value in sorted(secrets, key=len, reverse=True):
            content = content.replace(value, REDACTED)
        return content
    if isinstance(content, Mapping):
        return {redacted(name, secrets): redacted(value, secrets) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [redacted(part, secrets) for part in content]
    return content
