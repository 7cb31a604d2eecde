"""The cache gives what a cold run gives, whoever else uses it, and never stands in the way."""

from __future__ import annotations

import lzma
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nsys_pipeline.errors import TraceError
from nsys_pipeline.query.session import Session
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.trace import TraceOptions, cache, open_trace
from nsys_pipeline.trace.sqlite_source import SqliteSource
from tests.support import real_traces
from tests.support.edge_traces import EDGE_TRACES
from tests.support.examples import some
from tests.support.small_trace import KERNELS, comparable_report, loaded, small_trace

ROOT = Path(__file__).resolve().parents[3]
ANALYZE = "import sys; from nsys_pipeline.cli import main; sys.argv[0] = 'llmperf'; main()"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return small_trace().write(tmp_path / "trace.sqlite")


@pytest.fixture
def cached(tmp_path: Path) -> TraceOptions:
    return TraceOptions(cache_dir=tmp_path / "cache")


def entries(options: TraceOptions, folder: str = "traces") -> list[Path]:
    assert options.cache_dir
    return sorted((options.cache_dir / folder).glob("*"))


def start(trace: Path, cache_dir: Path, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ANALYZE, "analyze", str(trace), "--format", "json"],
        env=os.environ | {"LLMPERF_CACHE_DIR": str(cache_dir), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["h100_llama1b", "h100_cuda_graph_whole", "h100_train", "h200x2_tensor_parallel"])
def test_a_cached_report_is_the_cold_one(name: str, cached: TraceOptions) -> None:
    trace = real_traces.TRACES / f"{name}.sqlite.xz"
    cold = comparable_report(trace)

    assert comparable_report(trace, cached) == cold
    with open_trace(trace, cached) as opened:
        assert opened.is_cached
    assert comparable_report(trace, cached) == cold
    assert len(entries(cached)) == 1


@pytest.mark.parametrize("name", some(EDGE_TRACES, 12))
def test_the_same_of_edge_traces(name: str, cached: TraceOptions, tmp_path: Path) -> None:
    trace = EDGE_TRACES[name]().write(tmp_path / "trace.sqlite")
    cold = comparable_report(trace)

    assert [comparable_report(trace, cached) for _ in range(2)] == [cold, cold]


def test_another_content_is_another_entry(trace: Path, cached: TraceOptions) -> None:
    before = comparable_report(trace, cached)
    stat = trace.stat()
    trace.unlink()
    builder = small_trace()
    builder.process(200).kernel((5, 6), correlation=None, name="kernel_0")
    builder.write(trace)
    os.utime(trace, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as `cp -p` and archives do

    after = comparable_report(trace, cached)

    assert after["totals"]["kernel_count"] == before["totals"]["kernel_count"] + 1


def test_other_options_and_other_code_are_other_entries(
    trace: Path, cached: TraceOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    comparable_report(trace, cached)
    rule = TraceOptions(cache_dir=cached.cache_dir, phase_rules=(PhaseRule.from_option("all=request"),))
    comparable_report(trace, rule)
    comparable_report(trace, TraceOptions(cache_dir=cached.cache_dir, is_strict=True))
    assert len(entries(cached)) == 3

    monkeypatch.setattr(cache, "code_fingerprint", lambda: "another version")
    with open_trace(trace, cached) as opened:
        assert not opened.is_cached


def test_no_cache_leaves_nothing(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    comparable_report(trace, TraceOptions(cache_dir=folder, use_cache=False))

    assert not folder.exists()


def test_an_entry_that_is_no_database_is_replaced(trace: Path, cached: TraceOptions) -> None:
    cold = comparable_report(trace, cached)
    (entry,) = entries(cached)
    entry.write_bytes(entry.read_bytes()[:1000])

    assert comparable_report(trace, cached) == cold
    with open_trace(trace, cached) as opened:
        assert opened.is_cached


def test_what_killed_runs_left_is_removed_and_what_others_write_is_not(trace: Path, cached: TraceOptions) -> None:
    assert cached.cache_dir
    folder = cached.cache_dir / "traces"
    folder.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = folder / f".abc.{cache._host()}-{gone.pid}-0.duckdb"
    alive = folder / f".abc.{cache._host()}-{os.getppid()}-0.duckdb"
    elsewhere = folder / ".abc.00000000-1-0.duckdb"
    old = folder / ".def.00000000-1-0.duckdb"
    for file in (dead, alive, elsewhere, old):
        file.write_text("half")
    os.utime(old, (time.time() - 2 * cache.ABANDONED_AFTER_S,) * 2)

    comparable_report(trace, cached)

    assert [file.exists() for file in (dead, alive, elsewhere, old)] == [False, True, True, False]


def test_where_nobody_can_be_asked_only_old_leftovers_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given Windows, where `os.kill` with signal 0 ends what it is meant to ask for
    folder = tmp_path / "traces"
    folder.mkdir()
    names = [f".entry.{cache._host()}-{os.getpid()}-1.tmp", f".old.{cache._host()}-{os.getpid()}-1.tmp"]
    for name in names:
        (folder / name).write_text("")
    long_ago = time.time() - 2 * cache.ABANDONED_AFTER_S
    os.utime(folder / names[1], (long_ago, long_ago))
    monkeypatch.setattr(cache, "os", SimpleNamespace(name="nt"))

    cache.trim(tmp_path)

    assert [file.name for file in folder.iterdir()] == names[:1]


def test_the_least_used_entries_go_first(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    for age, name in enumerate(("new", "middle", "old")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1000 - age, 1000 - age))

    cache.trim(tmp_path, max_bytes=250)

    assert sorted(file.name for file in folder.iterdir()) == ["middle", "new"]


def test_a_cache_that_cannot_be_written_is_done_without(trace: Path, tmp_path: Path) -> None:
    cold = loaded(trace)
    packed = trace.with_name("trace.sqlite.xz")
    packed.write_bytes(lzma.compress(trace.read_bytes()))
    file = tmp_path / "file"
    file.touch()

    for place in (file, file / "below", Path("/proc/llmperf")):
        options = TraceOptions(cache_dir=place)
        assert loaded(trace, options) == cold
        assert loaded(packed, options) == cold


def test_runs_beside_each_other(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    runs = [start(trace, folder) for _ in range(3)]
    results = [(*run.communicate(timeout=120), run.returncode) for run in runs]

    assert [code for *_, code in results] == [0, 0, 0]
    assert [error for _, error, _ in results] == ["", "", ""]
    assert len({output for output, *_ in results}) == 1
    assert [entry.suffix for entry in (folder / "traces").iterdir()] == [".duckdb"]


def test_a_killed_run_leaves_the_next_one_as_it_was(tmp_path: Path) -> None:
    trace = real_traces.unpack_by_name("h100_llama1b", tmp_path)
    folder = tmp_path / "cache"
    killed = start(trace, folder)
    deadline = time.monotonic() + 60
    while not list(folder.glob("traces/.*.duckdb")):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(list(folder.glob("traces/.*.duckdb"))) == 1

    options = TraceOptions(cache_dir=folder)

    assert comparable_report(trace, options) == comparable_report(trace)
    assert [entry.name[0] for entry in entries(options)] != ["."]
    assert len(entries(options)) == 1


def test_a_full_disk_is_one_error(tmp_path: Path) -> None:
    trace = real_traces.unpack_by_name("h100_train", tmp_path)

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    run = start(trace, tmp_path / "cache", preexec_fn=limit_files)
    output, error = run.communicate(timeout=120)

    assert (run.returncode, output) == (1, "")
    assert error.startswith(f"error: `{trace}` cannot be analyzed: disk trouble")
    assert "pass --no-cache" in error
    assert list((tmp_path / "cache" / "traces").iterdir()) == []


def test_a_trace_that_changes_its_mind_is_never_mixed(trace: Path, cached: TraceOptions) -> None:
    with open_trace(trace, cached) as opened:
        trace.unlink()
        with pytest.raises(TraceError):
            opened.build("attribute.gpu_work")
    assert entries(cached) == []


# -- tables that are read late ---------------------------------------------------------------------------------------

LAUNCHES = "SELECT count(*), sum(grid_x * block_x), sum(registers_per_thread) FROM kernels"


def launches(trace: Path, options: TraceOptions, *, before: str | None = None) -> list[tuple[object, ...]]:
    """How the kernels were launched, as a session of its own says; `before`: a query that comes first."""
    with Session.of(open_trace(trace, options)) as session:
        if before:
            with session.query(before) as result:
                result.rows()
        with session.query(LAUNCHES) as result:
            return result.rows()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tables that are read from the export."""
    read: list[str] = []
    load = SqliteSource.load

    def count(self: SqliteSource, con: Any, loads: Any) -> None:
        read.extend(one.target.rpartition(".")[2] for one in loads)
        load(self, con, loads)

    monkeypatch.setattr(SqliteSource, "load", count)
    return read


def test_launch_configurations_are_read_once(trace: Path, cached: TraceOptions, loads: list[str]) -> None:
    cold = launches(trace, TraceOptions(use_cache=False))
    assert cold[0][0] == KERNELS
    loads.clear()

    assert launches(trace, cached) == cold
    assert loads.count("KERNEL_LAUNCH_CONFIG") == 1
    loads.clear()
    assert launches(trace, cached) == cold
    # Also where an earlier query has turned access to files off.
    assert launches(trace, cached, before="SELECT count(*) FROM phases") == cold
    assert loads == []
    assert len(entries(cached)) == 2
    assert not [entry for entry in entries(cached) if entry.name.startswith(".")]


def test_the_report_does_not_wait_for_launch_configurations(
    trace: Path, cached: TraceOptions, loads: list[str]
) -> None:
    comparable_report(trace, cached)
    comparable_report(trace, cached)
    assert "KERNEL_LAUNCH_CONFIG" not in loads
    assert len(entries(cached)) == 1


def test_without_access_to_files_they_are_read_into_memory(trace: Path, cached: TraceOptions, loads: list[str]) -> None:
    cold = launches(trace, TraceOptions(use_cache=False))
    comparable_report(trace, cached)
    loads.clear()

    assert launches(trace, cached, before="SELECT count(*) FROM phases") == cold
    assert loads == ["KERNEL_LAUNCH_CONFIG"]
    assert len(entries(cached)) == 1


def test_a_damaged_file_of_them_is_made_again(trace: Path, cached: TraceOptions) -> None:
    cold = launches(trace, cached)
    beside = next(entry for entry in entries(cached) if "kernel_launch_config" in entry.name)
    beside.write_bytes(b"no database at all" * 1000)

    assert launches(trace, cached) == cold
    assert launches(trace, cached) == cold
    assert beside.stat().st_size > 18_000


def test_nobody_else_can_look_into_the_cache(tmp_path: Path) -> None:
    """A trace may hold what was in an environment."""
    path = EDGE_TRACES["work_of_every_kind"]().write(tmp_path / "trace.sqlite")
    before = os.umask(0)
    try:
        with open_trace(path, TraceOptions(cache_dir=tmp_path / "cache")) as trace:
            trace.build("load.session")
            trace.keep()
    finally:
        os.umask(before)

    assert (tmp_path / "cache" / "traces").stat().st_mode & 0o777 == 0o700
