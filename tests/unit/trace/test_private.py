"""Environment variables and secrets of a foreign trace: said once, kept by no cache, gone from a copy."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support.parquet_export import to_parquetdir
from tests.support.trace_builder import TraceBuilder
from tests.unit.capture.fake_nsys import fake_nsys, report

VALUE = "hf_aVerySecretValue123"
OTHER = "somethingElseSecret99"


def foreign(path: Path, *, is_packed: bool = False) -> Path:
    """A trace with the environment in every place, and a token on the command line."""
    trace = TraceBuilder()
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30))
    for name, value in (("HOME", "/home/me"), ("HF_TOKEN", VALUE), ("PATH", "/bin")):
        trace.row("META_DATA_CAPTURE", name="PROCESS_0:ENVIRONMENT_VARIABLE", value=f'{name}="{value}"')
    for index, word in enumerate(("t.py", "--api-key", OTHER)):
        trace.row("META_DATA_CAPTURE", name=f"PROCESS_0:ARGUMENT_{index}", value=word)
    install = "/opt/nvidia/nsight-systems/2024.5.1/target-linux-x64"
    for name, value in (("DeviceEnvironment", f"A=1;HF_TOKEN={VALUE}"), ("TargetInstallDir", install)):
        trace.row("TARGET_INFO_SYSTEM_ENV", devStateName="x", name=name, nameEnum=1, value=value)
    trace.string(f"HOME=/home/me\0HF_TOKEN={VALUE}\0PATH=/bin")
    trace.string("python\0t.py\0--x")
    trace.write(path)
    if is_packed:
        packed = path.with_name(f"{path.name}.xz")
        packed.write_bytes(lzma.compress(path.read_bytes(), preset=0))
        path.unlink()
        return packed
    return path


def made(kind: str, folder: Path) -> tuple[Path, str | None]:
    """The trace as a `kind` of input, and the nsys that exports it."""
    plain = foreign(folder / "plain.sqlite")
    if kind == "parquet":
        return to_parquetdir(plain, folder / "parquet"), None
    if kind == "report":
        nsys = fake_nsys(
            folder / "bin", export=f'for a; do case $a in --output=*) cp {plain} "${{a#--output=}}";; esac; done'
        )
        return report(folder / "trace.nsys-rep"), str(nsys)
    return foreign(folder / "trace.sqlite", is_packed=kind == "packed"), None


@pytest.mark.parametrize("kind", ["sqlite", "packed", "parquet", "report"])
def test_it_is_said_once_and_kept_nowhere(kind: str, tmp_path: Path) -> None:
    path, nsys = made(kind, tmp_path)
    cache = tmp_path / "cache"

    for _ in range(2):
        with open_trace(path, TraceOptions(cache_dir=cache, nsys=nsys)) as trace:
            found = [one for one in analyze(trace).warnings if one.code == "environment_in_trace"]
            metadata = trace.connection.execute("SELECT value FROM load.metadata").fetchall()
        (notice,) = found
        assert notice.message.startswith("the trace holds 3 environment variables of the machine")
        assert ", among them HF_TOKEN:" in notice.message
        assert notice.hint is not None
        assert "llmperf export" in notice.hint
        assert ("***",) in metadata
    kept = [file for file in cache.rglob("*") if file.is_file()]
    assert kept
    for file in kept:
        content = file.read_bytes()
        assert VALUE.encode() not in content, file
        assert OTHER.encode() not in content, file


def test_a_copy_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = foreign(tmp_path / "trace.sqlite", is_packed=True)

    # an archive becomes the file that it holds
    code, out, err = run(capsys, "export", packed)
    assert (code, err) == (0, "")
    clean = tmp_path / "trace.sqlite"
    assert out == f"{clean}\n"
    assert VALUE.encode() not in clean.read_bytes()
    assert OTHER.encode() not in clean.read_bytes()
    with open_trace(clean, TraceOptions(use_cache=False)) as trace:
        report = analyze(trace)
    assert "environment_in_trace" not in {notice.code for notice in report.warnings}
    assert report.totals.kernel_count == 1

    # a plain file stays as it is
    plain = foreign(tmp_path / "plain.sqlite")
    before = plain.read_bytes()
    assert run(capsys, "export", plain)[:2] == (0, f"{tmp_path / 'plain-clean.sqlite'}\n")
    assert plain.read_bytes() == before
    assert VALUE.encode() not in (tmp_path / "plain-clean.sqlite").read_bytes()
    for refused in (("-o", plain, "--force"), ()):
        assert run(capsys, "export", plain, *refused)[0] == 2
    assert plain.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_other_databases_are_not_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    path = tmp_path / "browser.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()

    code, _, err = run(capsys, "export", path)

    assert code == 1
    assert f"`{path}` is a database of something else" in err
    assert [file.name for file in tmp_path.iterdir()] == ["browser.sqlite"]


@pytest.mark.parametrize(
    ("folder", "version"),
    [
        ("/opt/nvidia/nsight-systems/2024.5.1/target-linux-x64", "2024.5.1"),
        ("/opt/nvidia/nsight-systems-cli/2023.4.1/target-linux-x64", "2023.4.1"),
        ("/usr/local/cuda-12.4/nsight-systems-2023.4.4/target-linux-x64", "2023.4.4"),
        ("C:\\Program Files\\NVIDIA Corporation\\Nsight Systems 2025.1.1\\target-windows-x64", "2025.1.1"),
        # the version of Nsight Compute, which brings an nsys along
        ("/opt/nvidia/nsight-compute/2025.3.1/host/target-linux-x64", None),
    ],
)
def test_the_recorder_is_told_from_the_exporter(
    folder: str, version: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = TraceBuilder("2025.3")
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30))
    trace.row("TARGET_INFO_SYSTEM_ENV", devStateName="x", name="TargetInstallDir", nameEnum=170, value=folder)
    path = trace.write(tmp_path / "trace.sqlite")

    _, out, _ = run(capsys, "analyze", path, "--no-cache")
    expected = f"nsys {version}, exported by 2025.3.2.0" if version else "exported by nsys 2025.3.2.0"
    assert f" · {expected} · " in out

    # the report beside it knows
    report(tmp_path / "trace.nsys-rep", "2025@3@2@99")
    _, out, _ = run(capsys, "analyze", path, "--no-cache")
    assert (f" · nsys {version}," if version else " · nsys 2025.3.2 · ") in out
