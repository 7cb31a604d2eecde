"""Traces, datasets and exports in a bucket, over the wire: servers on this machine of the protocols of S3 and Google.

They run where the packages are: pip install 'nsys-pipeline[stores]' for S3; gcsfs gcp-storage-emulator for Google.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import duckdb
import fsspec
import pytest

from nsys_pipeline.errors import UsageError
from nsys_pipeline.fleet.storage import Storage, uploaded
from nsys_pipeline.query.handover import SCHEMA_NAME
from tests.cli.run import run
from tests.support.fleet import ask, write_fleet

pytestmark = pytest.mark.filterwarnings("ignore")
Address = tuple[str, Callable[[], None]]


def _s3(monkeypatch: pytest.MonkeyPatch) -> Address:
    server = importlib.import_module("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What servers of a process hold is common to them.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return "s3", server.stop


def _gs(monkeypatch: pytest.MonkeyPatch) -> Address:
    server = importlib.import_module("gcp_storage_emulator.server").create_server("127.0.0.1", 0, in_memory=True)
    server.wipe()
    server.start()
    host, port = server._api._httpd.server_address
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    # This process, and those of workers.
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
    return "gs", server.stop


STORES = {
    "s3": (("moto.server", "s3fs"), _s3, "pip install 'nsys-pipeline[stores]'"),
    "gs": (("gcp_storage_emulator.server", "gcsfs"), _gs, "pip install gcsfs gcp-storage-emulator"),
}


@pytest.fixture(params=STORES)
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server that lives as long as the test; in memory, of none."""
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        yield "memory://bucket"
        return
    packages, serve, how = STORES[request.param]
    # Read when gcsfs is imported: without, it asks for the kind of a bucket in a protocol that the emulator lacks.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    for package in packages:
        pytest.importorskip(package, reason=how)
    protocol, stop = serve(monkeypatch)
    kind = fsspec.get_filesystem_class(protocol)
    kind.clear_instance_cache()
    fsspec.filesystem(protocol).mkdir("bucket")
    yield f"{protocol}://bucket"
    kind.clear_instance_cache()
    stop()


def test_a_fleet_from_a_bucket_to_a_bucket(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["run1/trace.sqlite", "odd name+%/trace-rank0.sqlite", "odd name+%/trace-rank1.sqlite"]
    Storage.of(bucket).fs.put(f"{write_fleet(tmp_path / 'in', files)}/", f"{bucket}/runs/", recursive=True)
    out = f"{bucket}/lake"

    code, _, err = run(capsys, "fleet", f"{bucket}/runs", "--out", out, "--workers", "1")
    # Before it, Google's emulator may complain of workers that end.
    assert (code, err.splitlines()[-1]) == (0, "3 traces: 3 analyzed")
    code, _, err = run(capsys, "fleet", f"{bucket}/runs/*/trace*.sqlite", "--out", out, "--workers", "1")
    assert (code, err.splitlines()[-1]) == (0, "3 traces: 0 analyzed, 3 were known")

    assert ask(out, "SELECT run, trace_rank, occurrences FROM phase_summary ORDER BY ALL") == [
        ("odd name+%", 0, 8), ("odd name+%", 1, 8), ("run1", None, 8),
    ]  # fmt: skip
    code, printed, _ = run(capsys, "sql", out, "SELECT path FROM traces WHERE run = 'run1'", "--format", "csv")
    assert (code, printed) == (0, f"path\n{bucket}/runs/run1/trace.sqlite\n")
    assert run(capsys, "fleet", out)[0] == 0


def test_what_is_not_in_a_bucket(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    nowhere = f"{bucket.partition(':')[0]}://no-such-bucket"

    for arguments, said in (
        (("fleet", f"{bucket}/none", "--out", f"{bucket}/lake"), "does not exist"),
        (("fleet", source, "--out", f"{nowhere}/lake"), "cannot be written"),
        (("sql", f"{bucket}/none", "from traces"), "no dataset of a fleet"),
        (("export", source / "a.sqlite", "--to", "duckdb", "-o", f"{nowhere}/a.duckdb"), "cannot be reached"),
    ):
        code, _, err = run(capsys, *arguments)
        assert (code, said in err) == (2, True), err
    assert [name.strip("/") for name in Storage.of(bucket).fs.ls("")] == ["bucket"]


def test_an_export_to_a_bucket(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = write_fleet(tmp_path / "in", ["a.sqlite"]) / "a.sqlite"
    url = f"{bucket}/x/a.duckdb"

    assert run(capsys, "export", trace, "--to", "duckdb", "-o", url)[:2] == (0, f"{url}\n")

    copy = tmp_path / "a.duckdb"
    Storage.of(url).fs.get_file(url, str(copy))
    with duckdb.connect(str(copy), read_only=True) as con:
        assert con.execute("SELECT count(*), sum(wall_ns) FROM phases").fetchall() == [(8, 8000)]
    code, _, err = run(capsys, "export", trace, "--to", "duckdb", "-o", url)
    assert (code, f"`{url}` exists" in err) == (2, True), err


EVERYWHERE = pytest.mark.parametrize("bucket", ["memory", *STORES], indirect=True)


def write(folder: Path, **files: str) -> None:
    folder.mkdir()
    (folder / SCHEMA_NAME).write_text("")
    for name, text in files.items():
        (folder / f"{name}.parquet").write_text(text)


def content(bucket: str) -> dict[str, bytes]:
    """What is there but schemas, by which an export is known."""
    fs = Storage.of(bucket).fs
    fs.invalidate_cache()
    return {name.strip("/"): fs.cat_file(name) for name in fs.find("bucket") if not name.endswith(SCHEMA_NAME)}


@EVERYWHERE
def test_what_is_uploaded_appears_as_a_whole(bucket: str) -> None:
    with uploaded(f"{bucket}/run") as folder:
        write(folder, a="1", b="2")
        assert content(bucket) == {}
    assert content(bucket) == {"bucket/run/a.parquet": b"1", "bucket/run/b.parquet": b"2"}

    with uploaded(f"{bucket}/run", force=True) as folder:
        write(folder, b="3", c="4")
    assert content(bucket) == {"bucket/run/b.parquet": b"3", "bucket/run/c.parquet": b"4"}

    with uploaded(f"{bucket}/run.duckdb") as file:
        file.write_text("5")
    assert content(bucket)["bucket/run.duckdb"] == b"5"


# Google's emulator has no way to end an upload that is not wanted any more.
@pytest.mark.parametrize("bucket", ["memory", "s3"], indirect=True)
def test_what_fails_leaves_nothing(bucket: str) -> None:
    def fail(*, force: bool) -> None:
        with uploaded(f"{bucket}/run", force=force) as folder:
            write(folder, a="1", b="2")
            # The last of them cannot be read when others were sent already.
            (folder / "z.parquet").symlink_to(folder / "nowhere")

    with pytest.raises(UsageError, match="cannot be reached"):
        fail(force=False)
    assert content(bucket) == {}

    with uploaded(f"{bucket}/run") as folder:
        write(folder, a="old")
    with pytest.raises(UsageError, match="cannot be reached"):
        fail(force=True)
    assert content(bucket) == {"bucket/run/a.parquet": b"old"}


@EVERYWHERE
def test_nothing_else_is_replaced(bucket: str) -> None:
    Storage.of(bucket).fs.pipe_file("bucket/runs/run1/trace.sqlite", b"mine")

    for url, force, said in (
        (f"{bucket}/runs", False, "exists"),
        (f"{bucket}/runs", True, "holds something else"),
        (bucket, True, "is a whole bucket"),
    ):
        with pytest.raises(UsageError, match=said), uploaded(url, force=force):
            raise AssertionError

    assert content(bucket) == {"bucket/runs/run1/trace.sqlite": b"mine"}
