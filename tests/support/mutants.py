"""Damaged, doctored and unlikely traces, made from healthy ones with a seed: equal seeds make equal files.

    mutant = make_mutant(seed, folder)      # a path, and in words what was done to it

Six families: bytes of the file, rows and columns of the database, its structure, the files of a Parquet export, packed
streams, and what the marks of a workload say. What must hold of each is in ``tests/support/judge.py``.
"""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.support import real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.parquet_export import to_parquetdir
from tests.support.small_trace import small_trace
from tests.support.trace_builder import TraceBuilder

# Small enough to be judged by brute force.
REAL = ("h100_auto_generate", "h100_cuda_graph_whole", "h100_train")
WORK_TABLES = (
    "CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE",
)  # fmt: skip
# Tables that decide numbers, and so are worth more attempts than the others.
DECIDING = (*WORK_TABLES, "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS", "StringIds")
STRANGE_VALUES: tuple[object, ...] = (
    None, 0, -1, 1, 12, (1 << 63) - 1, -(1 << 63), 1 << 53, (1 << 53) + 1, (1 << 31), 0.0, 12.0, 12.5, 1e18, 1e19, -0.5,
    "", "abc", "12", " 12 ", "12.0", "12.7", "1e3", "0x10", "1_000", "9223372036854775808", b"", b"\x00\xff", b"12",
    "line\nbreak", "a\0b", "x" * 10_000, "\x1b[31mred\x1b[0m",
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One input: `base` is the healthy trace it was made from, `what` says how."""

    seed: int
    path: Path
    base: Path
    family: str
    what: str


def make_mutant(seed: int, folder: Path, *, family: str | None = None) -> Mutant:
    """Write the mutant of this seed into `folder`, which must be empty."""
    random = Random(seed)
    name, base = _base(random, folder)
    family = family or random.choice(("bytes", "rows", "rows", "rows", "structure", "parquet", "packed", "marks"))
    path, what = FAMILIES[family](random, base, folder)
    return Mutant(seed, path, base, family, f"{name}: {what}")


def _base(random: Random, folder: Path) -> tuple[str, Path]:
    chosen = random.choice(("small", "edge", "edge", "real"))
    path = folder / "base.sqlite"
    if chosen == "small":
        schema = random.choice(("2020.3", "2022.4", "2023.3", "2024.2", "2025.3", "2026.1"))
        return f"small {schema}", small_trace(schema).write(path)
    if chosen == "edge":
        name = random.choice(sorted(EDGE_TRACES))
        return name, EDGE_TRACES[name]().write(path)
    name = random.choice(REAL)
    path.write_bytes(_unpacked(name))
    return name, path


@cache
def _unpacked(name: str) -> bytes:
    return lzma.decompress((real_traces.TRACES / f"{name}{real_traces.SUFFIX}").read_bytes())


# -- bytes -----------------------------------------------------------------------------------------------------------


def _damage(random: Random, content: bytearray, *, page: int) -> str:  # noqa: C901 - one branch for each damage
    """Change `content` in place."""
    pages = max(1, len(content) // page)
    one, other = random.randrange(pages), random.randrange(pages)
    where = slice(one * page, (one + 1) * page)
    kind = random.choice(
        ("bits", "bytes", "few bytes", "head of a page", "zero", "noise", "copy", "swap", "cut", "garbage", "header",
         "no head")
    )  # fmt: skip
    if kind == "bits":
        at = random.randrange(len(content))
        content[at] ^= 1 << random.randrange(8)
    elif kind in ("bytes", "few bytes"):
        for _ in range(random.choice((5, 50, 500)) if kind == "bytes" else random.choice((1, 2))):
            content[random.randrange(len(content))] = random.randrange(256)
    elif kind == "head of a page":
        content[min(len(content) - 1, one * page + (100 if one == 0 else 0) + random.randrange(40))] ^= (
            1 << random.randrange(8)
        )
    elif kind == "zero":
        content[where] = bytes(len(content[where]))
    elif kind == "noise":
        content[where] = random.randbytes(len(content[where]))
    elif kind in ("copy", "swap"):
        there = slice(other * page, (other + 1) * page)
        if len(content[where]) == len(content[there]):
            first, second = bytes(content[where]), bytes(content[there])
            content[there] = first
            if kind == "swap":
                content[where] = second
    elif kind == "cut":
        del content[random.choice((random.randrange(len(content)), one * page, len(content) - 1, 15, 99, 100)) :]
    elif kind == "garbage":
        content += random.randbytes(random.choice((1, 100, page, 3 * page)))
    elif kind == "header":
        content[random.randrange(min(100, len(content)))] = random.randrange(256)
    else:
        del content[: random.choice((1, 16, 100, page))]
    return f"{kind} at page {one}"


def _bytes(random: Random, base: Path, folder: Path) -> tuple[Path, str]:
    content = bytearray(base.read_bytes())
    what = _damage(random, content, page=4096)
    path = folder / "trace.sqlite"
    path.write_bytes(content)
    return path, what


def _packed(random: Random, base: Path, folder: Path) -> tuple[Path, str]:
    import zstandard

    pack: dict[str, Callable[[bytes], bytes]] = {
        "xz": lambda data: lzma.compress(data, preset=0),
        "gz": lambda data: gzip.compress(data, 1, mtime=0),
        "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    }
    suffix = random.choice(tuple(pack))
    content = bytearray(pack[suffix](base.read_bytes()))
    what = _damage(random, content, page=512)
    path = folder / f"trace.sqlite.{suffix}"
    path.write_bytes(content)
    return path, f"{suffix}: {what}"


# -- rows ------------------------------------------------------------------------------------------------------------


@contextmanager
def _editing(base: Path, folder: Path) -> Iterator[tuple[sqlite3.Connection, Path]]:
    path = folder / "trace.sqlite"
    shutil.copyfile(base, path)
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes
        yield db, path
        db.commit()


def _tables(db: sqlite3.Connection) -> list[str]:
    names = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [name.decode() for (name,) in names]


def _columns(db: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    return [(row[1].decode(), row[2].decode()) for row in db.execute(f"PRAGMA table_info({table})")]


def _pick_table(random: Random, db: sqlite3.Connection) -> str:
    tables = [name for name in _tables(db) if "_key" not in [column for column, _ in _columns(db, name)]]
    deciding = [name for name in tables if name in DECIDING]
    return random.choice(deciding if deciding and random.random() < 0.75 else tables)


def _some_rows(random: Random, db: sqlite3.Connection, table: str) -> list[int]:
    ids = [row for (row,) in db.execute(f"SELECT rowid FROM {table} ORDER BY rowid")]
    if not ids:
        return []
    return ids if random.random() < 0.25 else random.sample(ids, min(len(ids), random.choice((1, 1, 3, 20))))


def _untyped(db: sqlite3.Connection, table: str, changed: dict[str, str]) -> None:
    """Declare columns anew (SQLite converts what it stores to the type that is declared)."""
    columns = _columns(db, table)
    declared = ", ".join(f'"{name}" {changed.get(name, kind)}' for name, kind in columns)
    db.execute(f"CREATE TABLE _again ({declared})")
    names = ", ".join(f'"{name}"' for name, _ in columns)
    db.execute(f"INSERT INTO _again (rowid, {names}) SELECT rowid, {names} FROM {table}")
    db.execute(f"DROP TABLE {table}")
    db.execute(f"ALTER TABLE _again RENAME TO {table}")


def _edit_rows(random: Random, base: Path, folder: Path) -> tuple[Path, str]:
    with _editing(base, folder) as (db, path):
        what = [_edit_or_not(random, db) for _ in range(random.choice((1, 1, 1, 2, 4)))]
    return path, "; ".join(what)


def _edit_or_not(random: Random, db: sqlite3.Connection) -> str:
    try:
        return _edit(random, db)
    except sqlite3.IntegrityError as error:
        return f"nothing, because of a {error}"


def _edit(random: Random, db: sqlite3.Connection) -> str:  # noqa: C901 - one branch for each edit
    table = _pick_table(random, db)
    columns = [name for name, _ in _columns(db, table)]
    rows = _some_rows(random, db, table)
    column = random.choice(columns)
    timed = {"start", "end"} <= set(columns)
    if timed and random.random() < 0.4:
        column = random.choice(("start", "end"))
    marks = ", ".join("?" * len(rows)) or "NULL"
    kind = random.choice(
        (
            "delete",
            "value",
            "value",
            "any value",
            "null",
            "swap times",
            "shift",
            "repeat",
            "renumber",
            "shuffle",
            "ties",
        )
    )
    if kind == "delete":
        db.execute(f"DELETE FROM {table} WHERE rowid IN ({marks})", rows)
    elif kind in ("value", "any value"):
        value = random.choice(STRANGE_VALUES)
        if kind == "any value":
            _untyped(db, table, {column: ""})
        db.execute(f'UPDATE {table} SET "{column}" = ? WHERE rowid IN ({marks})', [value, *rows])
        return f"{table}.{column} = {value!r:.30} in {len(rows)} rows ({kind})"
    elif kind == "null":
        db.execute(f'UPDATE {table} SET "{column}" = NULL WHERE rowid IN ({marks})', rows)
    elif kind == "swap times" and timed:
        db.execute(f'UPDATE {table} SET start = "end", "end" = start WHERE rowid IN ({marks})', rows)
    elif kind == "shift" and timed:
        by = random.choice((-1, 1, -1_000_000_000_000, 1_700_000_000_000_000_000, 100))
        db.execute(f'UPDATE {table} SET start = start + ?, "end" = "end" + ? WHERE rowid IN ({marks})', [by, by, *rows])
        return f"shift {len(rows)} rows of {table} by {by}"
    elif kind == "repeat":
        if table == "StringIds":
            _untyped(db, table, {})
        names = ", ".join(f'"{name}"' for name in columns)
        db.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} WHERE rowid IN ({marks})", rows)
    elif kind == "renumber" and table != "StringIds":
        by = random.choice((5, -1_000, 1 << 40, 1 << 62))
        for row in sorted(rows, reverse=by > 0):
            db.execute(f"UPDATE {table} SET rowid = ? WHERE rowid = ?", (row + by, row))
        return f"renumber {len(rows)} rows of {table} by {by}"
    elif kind == "shuffle" and table != "StringIds":
        db.execute(
            f"CREATE TABLE _shuffled AS SELECT * FROM {table} ORDER BY (rowid * 7919 + ?) % 1009", [random.random()]
        )
        db.execute(f"DELETE FROM {table}")
        db.execute(f"INSERT INTO {table} SELECT * FROM _shuffled")
        db.execute("DROP TABLE _shuffled")
    elif kind == "ties" and timed:
        db.execute(f"UPDATE {table} SET start = (SELECT min(start) FROM {table}) WHERE rowid IN ({marks})", rows)
    return f"{kind} {len(rows)} rows of {table} ({column})"


# -- structure -------------------------------------------------------------------------------------------------------


def _structure(random: Random, base: Path, folder: Path) -> tuple[Path, str]:
    with _editing(base, folder) as (db, path):
        what = [_restructure(random, db) for _ in range(random.choice((1, 1, 2, 5)))]
    return path, "; ".join(what)


def _restructure(random: Random, db: sqlite3.Connection) -> str:  # noqa: C901 - as above
    table = _pick_table(random, db)
    columns = _columns(db, table)
    column = random.choice([name for name, _ in columns])
    kind = random.choice(
        ("drop table", "drop column", "drop column", "empty table", "retype", "retype all", "rename column",
         "add column", "view", "without rowid", "other table", "upper case")
    )  # fmt: skip
    if kind == "drop table":
        if len(_tables(db)) > 1:
            db.execute(f"DROP TABLE {table}")
    elif kind in ("drop column", "rename column"):
        if len(columns) > 1:
            _untyped(db, table, {})
            change = f'DROP COLUMN "{column}"' if kind == "drop column" else f'RENAME COLUMN "{column}" TO renamed'
            if ("renamed", "") not in [(name, "") for name, _ in columns]:
                db.execute(f"ALTER TABLE {table} {change}")
    elif kind == "empty table":
        db.execute(f"DELETE FROM {table}")
    elif kind == "retype":
        to = random.choice(("TEXT", "REAL", "BLOB", "NUMERIC"))
        _untyped(db, table, {column: to})
        kind = f"retype to {to}"
    elif kind == "retype all":
        to = random.choice(("TEXT", "REAL", ""))
        _untyped(db, table, {name: to for name, _ in columns})
        kind = f"retype all to {to}"
    elif kind == "add column":
        if "added" not in [name for name, _ in columns]:
            db.execute(f"ALTER TABLE {table} ADD COLUMN added")
            db.execute(f"UPDATE {table} SET added = 'x'")
    elif kind == "view":
        db.execute(f"ALTER TABLE {table} RENAME TO _hidden_{table}")
        db.execute(f"CREATE VIEW {table} AS SELECT * FROM _hidden_{table}")
    elif kind == "without rowid" and "_key" not in [name for name, _ in columns]:
        names = ", ".join(f'"{name}"' for name, _ in columns)
        db.execute(f"CREATE TABLE _plain ({names}, _key INTEGER PRIMARY KEY) WITHOUT ROWID")
        db.execute(f"INSERT INTO _plain ({names}, _key) SELECT {names}, rowid FROM {table}")
        db.execute(f"DROP TABLE {table}")
        db.execute(f"ALTER TABLE _plain RENAME TO {table}")
    elif kind == "other table":
        other = _pick_table(random, db)
        if other != table:
            db.execute(f"DROP TABLE {table}")
            db.execute(f"CREATE TABLE {table} AS SELECT * FROM {other}")
            kind = f"{other} under the name"
    elif kind == "upper case":
        db.execute(f"ALTER TABLE {table} RENAME TO _renaming")
        db.execute(f"ALTER TABLE _renaming RENAME TO {table.upper()}")
    return f"{kind} {table}.{column}"


# -- Parquet ---------------------------------------------------------------------------------------------------------


def _parquet(random: Random, base: Path, folder: Path) -> tuple[Path, str]:  # noqa: C901 - as above
    import polars as pl

    path = to_parquetdir(base, folder / "trace")
    files = sorted(path.glob("*.parquet"))
    deciding = [file for file in files if file.stem in DECIDING]
    file = random.choice(deciding if deciding and random.random() < 0.75 else files)
    kind = random.choice(
        ("nothing", "bytes", "bytes", "empty", "no magic", "remove", "other table", "directory", "drop column",
         "no rows", "cast", "cast", "nulls", "repeat", "text file", "stranger")
    )  # fmt: skip
    if kind == "bytes":
        content = bytearray(file.read_bytes())
        kind = _damage(random, content, page=64)
        file.write_bytes(content)
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "no magic":
        file.write_bytes(file.read_bytes()[4:])
    elif kind == "remove":
        file.unlink()
    elif kind == "other table":
        other = random.choice(files)
        file.write_bytes(other.read_bytes())
        kind = f"{other.stem} under the name"
    elif kind == "directory":
        file.unlink()
        file.mkdir()
    elif kind == "text file":
        file.write_text("no parquet\n")
    elif kind == "stranger":
        (path / f"{random.choice(('notes', 'a b', 'x[1]', 'quote'))}.parquet").write_bytes(file.read_bytes())
    elif kind != "nothing":
        frame = pl.read_parquet(file)
        column = random.choice(frame.columns)
        if "start" in frame.columns and random.random() < 0.4:
            column = random.choice(("start", "end"))
        if kind == "drop column":
            frame = frame.drop(column)
        elif kind == "no rows":
            frame = frame.clear()
        elif kind == "nulls":
            frame = frame.with_columns(pl.lit(None, dtype=frame.schema[column]).alias(column))
        elif kind == "repeat":
            frame = pl.concat([frame, frame.head(random.choice((1, 5)))])
        elif frame.schema[column].is_numeric():
            change = random.choice(("float", "half", "text", "word", "int32", "bool"))
            values = frame[column]
            frame = frame.with_columns(
                {
                    "float": values.cast(pl.Float64),
                    "half": values.cast(pl.Float64) + 0.5,
                    "text": values.cast(pl.String),
                    "word": pl.Series([None if v is None else "word" for v in values], dtype=pl.String),
                    "int32": values.cast(pl.Int32, strict=False),
                    "bool": values.cast(pl.Boolean),
                }[change].alias(column)
            )
            kind = f"cast to {change}"
        frame.write_parquet(file)
        kind = f"{kind} {column}"
    return path, f"parquet {file.name}: {kind}"


# -- marks -----------------------------------------------------------------------------------------------------------

_MODEL = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}  # fmt: skip
_STRANGE_JSON: tuple[object, ...] = (
    None, True, 0, -1, 1, 3, 1.5, 1e300, float("inf"), float("nan"), 10**6, 10**12, 10**18, 10**30, "", "abc", "12", [],
    [1], [0], [-1], [1, 2, 3], ["x"], [10**18] * 3, [None], {}, {"a": 1}, [[1]],
)  # fmt: skip


def _marks(random: Random, _base_of_others: Path, folder: Path) -> tuple[Path, str]:
    told: dict[str, object] = {
        "v": 1, "model": dict(_MODEL), "dtype": "bf16", "attn": "sdpa", "framework": "transformers", "rank": 0,
        "world": 1, "tp": 1, "pp": 1,
    }  # fmt: skip
    steps: list[dict[str, object]] = [{"q": 8, "b": 2, "logits": 2}, {"q": [1, 1], "kv": [8, 9]}]
    what = []
    for _ in range(random.choice((1, 1, 2, 4))):
        members: Any = random.choice((told, told.get("model"), *steps))
        if not isinstance(members, dict) or not members:
            continue
        key = random.choice(sorted(members))
        if members is told and key == "model" and random.random() < 0.7:
            continue
        if random.random() < 0.2:
            del members[key]
            what.append(f"no {key}")
        else:
            members[key] = random.choice(_STRANGE_JSON)
            what.append(f"{key} = {members[key]!r:.30}")
    texts = [f"llmperf.run {json.dumps(told)}", *(f"llmperf.step {json.dumps(step)}" for step in steps)]
    if random.random() < 0.2:
        index = random.randrange(3)
        cut = random.randrange(12, len(texts[index]))
        texts[index] = random.choice(
            (texts[index][:cut], f"llmperf.step {'[' * 20_000}", f"{texts[index][:cut]}\0{cut}")
        )
        what.append(f"mark {index} cut at {cut}")
    path = folder / "trace.sqlite"
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.mark(0, texts[0], domain="llmperf")
    for index, phase in enumerate(("prefill", "decode", "decode")):
        at = 1000 * (index + 1)
        main.push(at, at + 900, phase, domain="llmperf").mark(at + 1, texts[min(index, 1) + 1], domain="llmperf")
        main.launch(at + 10, gpu=(at + 100, at + 400)).launch(at + 20, gpu=(at + 500, at + 800))
    trace.write(path)
    _base_of_others.write_bytes(path.read_bytes())
    return path, "marks: " + ", ".join(what)


FAMILIES: dict[str, Callable[[Random, Path, Path], tuple[Path, str]]] = {
    "bytes": _bytes,
    "rows": _edit_rows,
    "structure": _structure,
    "parquet": _parquet,
    "packed": _packed,
    "marks": _marks,
}
