"""The environment leaves an exported trace, byte for byte."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nsys_pipeline.errors import TraceError
from nsys_pipeline.nsys.clean import is_environment_block, scrub_environment
from nsys_pipeline.nsys.secrets import leaked_variables, redacted, secrets_of

SECRET = "hf_abcdefgh12345678"


@pytest.mark.parametrize("schema", ["before 3.14", "since 3.14"])
def test_every_place_is_emptied(tmp_path: Path, schema: str) -> None:
    # given a trace with the environment where nsys puts it
    path = tmp_path / "trace.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE META_DATA_CAPTURE (name TEXT, value TEXT)")
    connection.execute(
        "CREATE TABLE TARGET_INFO_SYSTEM_ENV (globalVid INTEGER, name TEXT, nameEnum INTEGER, value TEXT)"
    )
    connection.execute("CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT)")
    block = f"PATH=/bin\0HF_TOKEN={SECRET}\0HOME=/root"
    connection.executemany(
        "INSERT INTO META_DATA_CAPTURE VALUES (?, ?)",
        [("PROCESS_0:ENVIRONMENT_VARIABLE", f'HF_TOKEN="{SECRET}"'), ("PROCESS_0:COMMAND", "python")],
    )
    connection.executemany(
        "INSERT INTO TARGET_INFO_SYSTEM_ENV VALUES (0, ?, 0, ?)",
        [("DeviceEnvironment", f"A=b;HF_TOKEN={SECRET}"), ("Hostname", "box")],
    )
    strings = [(1, "ampere_bf16_s16816gemm"), (2, "a=b"), (3, block), (4, f"X={SECRET}\0"), (5, "one\0two\0three")]
    connection.executemany("INSERT INTO StringIds VALUES (?, ?)", strings)
    content = "contentId INTEGER" if schema == "since 3.14" else "content TEXT"
    connection.execute(f"CREATE TABLE ANALYSIS_FILE (id INTEGER, filename TEXT, {content}, globalPid INTEGER)")
    held = 3 if schema == "since 3.14" else block
    connection.executemany(
        "INSERT INTO ANALYSIS_FILE VALUES (?, ?, ?, 0)", [(0, "/proc/7/environ", held), (1, "/tmp/stdout.log", "x")]
    )
    connection.commit()
    connection.close()
    assert leaked_variables(path, {"HF_TOKEN": SECRET, "HOME": "/root"}) == ["HF_TOKEN"]

    # when it is scrubbed
    scrub_environment(path)

    # then no byte of it is left, and nothing else is gone
    assert SECRET.encode() not in path.read_bytes()
    assert leaked_variables(path, {"HF_TOKEN": SECRET}) == []
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT * FROM META_DATA_CAPTURE").fetchall() == [("PROCESS_0:COMMAND", "python")]
    assert connection.execute("SELECT name FROM TARGET_INFO_SYSTEM_ENV").fetchall() == [("Hostname",)]
    assert connection.execute("SELECT filename FROM ANALYSIS_FILE").fetchall() == [("/tmp/stdout.log",)]
    assert connection.execute("SELECT * FROM StringIds").fetchall() == [
        (1, "ampere_bf16_s16816gemm"),
        (2, "a=b"),
        (3, ""),
        (4, ""),
        (5, "one\0two\0three"),
    ]
    connection.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.sqlite"]


def test_overwritten_rows_do_not_linger_in_free_space(tmp_path: Path) -> None:
    # given a file in which a row was moved, so that an old copy stays in unused space
    path = tmp_path / "trace.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA secure_delete = OFF").close()
    connection.execute("CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT)")
    connection.executemany("INSERT INTO StringIds VALUES (?, ?)", [(i, f"A=1\0B={SECRET}{i}") for i in range(50)])
    connection.commit()
    connection.execute("DELETE FROM StringIds WHERE id % 2 = 0")
    connection.commit()
    connection.close()
    assert path.read_bytes().count(SECRET.encode()) > 25

    scrub_environment(path)
    assert SECRET.encode() not in path.read_bytes()


def test_bytes_are_searched_for_secrets_too(tmp_path: Path) -> None:
    # given a payload of a range, which nsys keeps in a column of text as bytes
    path = tmp_path / "trace.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE NVTX_EVENTS (binaryData TEXT)")
        payloads = [(b"\0\1\xff\0" + SECRET.encode() + b"\0\xfe",), (b"\0\1\xff",)]
        connection.executemany("INSERT INTO NVTX_EVENTS VALUES (?)", payloads)

    scrub_environment(path, [SECRET])
    with closing(sqlite3.connect(path)) as connection:
        left = connection.execute("SELECT hex(binaryData) FROM NVTX_EVENTS").fetchall()
    assert left == [((b"\0\1\xff\0***\0\xfe").hex().upper(),), ("0001FF",)]


def test_tables_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "trace.sqlite"
    sqlite3.connect(path).close()
    assert scrub_environment(path) == 0


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "trace.sqlite"
    path.write_text("hello, this is no database at all" * 100)
    with pytest.raises(TraceError, match="cannot remove the environment"):
        scrub_environment(path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"A=1\0B=2", True),
        (b"A=1\0", True),
        (b"BASH_FUNC_x%%=() { :; }\0A=1", True),
        (b"python\0train.py\0lr=0.1", False),
        (b"A=1", False),
        (b"", False),
    ],
)
def test_environment_blocks(value: bytes, expected: bool) -> None:
    assert is_environment_block(value) is expected


def test_only_secret_looking_names_are_searched_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("value-of-home value-of-key short")
    environment = {"HOME": "value-of-home", "OPENAI_API_KEY": "value-of-key", "TOKEN": "short"}
    assert leaked_variables(path, environment) == ["OPENAI_API_KEY"]


def test_values_of_secret_variables_are_replaced_in_records() -> None:
    # given a secret that is part of another one, one given with env(1), and a variable that is set twice
    environment = {"HF_TOKEN": SECRET, "MY_API_KEY": f"{SECRET}-longer", "HOME": "/home/someone", "A_TOKEN": "short"}
    command = ["env", "HF_TOKEN=another-value", "python"]
    record = {"argv": (f"--key={SECRET}-longer", SECRET, *command, "/home/someone", "short"), "n": 1, "none": None}

    # when
    cleaned = redacted(record, [value for _, value in secrets_of(environment, command)])

    # then
    argv = ["--key=***", "***", "env", "HF_TOKEN=***", "python", "/home/someone", "short"]
    assert cleaned == {"argv": argv, "n": 1, "none": None}
