"""Secrets on command lines: found where people put them, and nothing else taken for one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from nsys_pipeline.nsys.clean import holds_private, recorded_command, scrub_environment, without_values
from nsys_pipeline.nsys.secrets import command_secrets, redacted

VALUE = "abcdefgh12345678"


@pytest.mark.parametrize(
    ("command", "cleaned"),
    [
        (["python", "t.py", "--token", f"hf_{VALUE}"], ["python", "t.py", "--token", "***"]),
        (["vllm", f"--api-key={VALUE}", "x"], ["vllm", "--api-key=***", "x"]),
        (["x", "--hf_token", VALUE, "--n", "3"], ["x", "--hf_token", "***", "--n", "3"]),
        (["x", f"--wandbApiKey={VALUE}"], ["x", "--wandbApiKey=***"]),
        (["x", "--db-password", VALUE], ["x", "--db-password", "***"]),
        (["env", f"HF_TOKEN={VALUE}", "x"], ["env", "HF_TOKEN=***", "x"]),
        (["x", f"trainer.hub_token={VALUE}"], ["x", "trainer.hub_token=***"]),
        (["curl", "-H", f"Authorization: Bearer {VALUE}"], ["curl", "-H", "Authorization: Bearer ***"]),
        (["curl", "-H", f"authorization: Basic {VALUE}=="], ["curl", "-H", "authorization: Basic ***"]),
        (["curl", "-H", f"X-Api-Key: {VALUE}"], ["curl", "-H", "X-Api-Key: ***"]),
        (["x", f"https://me:{VALUE}@host/p"], ["x", "https://me:***@host/p"]),
        (["x", f"https://host/p?q=1&access_token={VALUE}#x"], ["x", "https://host/p?q=1&access_token=***#x"]),
        (["sh", "-c", f"python t.py --token {VALUE}; true"], ["sh", "-c", "python t.py --token ***; true"]),
        (["sh", "-c", f"TOKEN='{VALUE}' python"], ["sh", "-c", "TOKEN='***' python"]),
        (["x", f'{{"api_key": "{VALUE}"}}'], ["x", '{"api_key": "***"}']),
        (["python", "-c", f"login('hf_{VALUE}{VALUE}')"], ["python", "-c", "login('***')"]),
        (["x", "git+https://ghp_" + "a1" * 18 + "@github.com/o/r"], ["x", "git+https://***@github.com/o/r"]),
        (["x", "--password", "correct horse battery"], ["x", "--password", "***"]),
        (["bash", "-lc", f"HF_TOKEN={VALUE} python t.py"], ["bash", "-lc", "HF_TOKEN=*** python t.py"]),
        (["a\u00a0b", "--token", VALUE], ["a\u00a0b", "--token", "***"]),
    ],
)
def test_secrets_are_replaced(command: list[str], cleaned: list[str]) -> None:
    assert redacted(command, [value for _, value in command_secrets(command)]) == cleaned


@pytest.mark.parametrize(
    "word",
    [
        "--max-new-tokens 12345678", "--tokenizer meta-llama/Llama-3.2-1B", "--eos-token <|end_of_text|>",
        "--token-file /run/secrets/hf", "--prompt-tokens 100000000", "--api-key-file /etc/key.json",
        "--token --verbose",
        "--author someone-else", "--auth-type kerberos-v5", "nvcr.io/nvidia/pytorch:24.10-py3@sha256:0123456789abcdef",
        "http://host:8000/v1",
        "--speculative-token-tree [(0,),(0,0)]", "--token short", "--input-tokens-file data.json",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_secret_stays(word: str) -> None:
    assert command_secrets(word.split()) == []
    assert command_secrets(["sh", "-c", f"python x {word} --y"]) == []


CAPTURE = [
    ("PROCESS_0:COMMAND", "python"),
    ("PROCESS_0:ARGUMENT_1", "--token"),
    ("PROCESS_0:ARGUMENT_0", "t.py"),
    ("PROCESS_0:ARGUMENT_2", VALUE),
    ("PROCESS_0:ENVIRONMENT_VARIABLE", f'HOME="/home/{VALUE}"'),
    ("PROCESS_0:ENVIRONMENT_VARIABLE", "no assignment"),
    ("RATE_HZ", "0"),
]


def test_the_recorded_command_in_its_order() -> None:
    assert recorded_command(CAPTURE) == ["python", "t.py", "--token", VALUE]


def test_metadata_without_values() -> None:
    assert without_values("META_DATA_CAPTURE", CAPTURE) == [
        ("PROCESS_0:COMMAND", "python"),
        ("PROCESS_0:ARGUMENT_1", "--token"),
        ("PROCESS_0:ARGUMENT_0", "t.py"),
        ("PROCESS_0:ARGUMENT_2", "***"),
        ("PROCESS_0:ENVIRONMENT_VARIABLE", "HOME"),
        ("PROCESS_0:ENVIRONMENT_VARIABLE", None),
        ("RATE_HZ", "0"),
    ]
    system = [("GpuInfo", "{}"), ("DeviceEnvironment", f"A={VALUE}"), ("TargetInstallDir", "/opt/x")]
    assert without_values("TARGET_INFO_SYSTEM_ENV", system) == [
        ("TargetInstallDir", "/opt/x"),
        ("DeviceEnvironment", None),
    ]


def test_an_export_loses_the_secrets_of_its_own_command_line(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE META_DATA_CAPTURE (name TEXT, value TEXT)")
    connection.execute("CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT)")
    connection.execute("CREATE TABLE NVTX_EVENTS (start INTEGER, text TEXT)")
    connection.executemany("INSERT INTO META_DATA_CAPTURE VALUES (?, ?)", CAPTURE)
    connection.executemany("INSERT INTO StringIds VALUES (?, ?)", [(1, f"login {VALUE}"), (2, "gemm")])
    connection.execute("INSERT INTO NVTX_EVENTS VALUES (0, ?)", [f"given-{VALUE}-elsewhere"])
    connection.commit()
    connection.close()
    assert holds_private(path)

    scrub_environment(path)

    assert VALUE.encode() not in path.read_bytes()
    assert not holds_private(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT value FROM StringIds").fetchall() == [("login ***",), ("gemm",)]
    connection.close()
