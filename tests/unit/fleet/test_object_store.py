"""Traces and dataset in a bucket, over the wire: a server of the S3 protocol on this machine.

It runs where the packages are: pip install 'moto[server]' s3fs
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.cli.run import run
from tests.support.fleet import ask, write_fleet

moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]' s3fs")
s3fs = pytest.importorskip("s3fs", reason="pip install 'moto[server]' s3fs")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server that lives as long as the test."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What servers of a process hold is common to them.
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_fleet_from_a_bucket_to_a_bucket(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["run1/trace.sqlite", "odd name+%/trace-rank0.sqlite", "odd name+%/trace-rank1.sqlite"]
    s3fs.S3FileSystem().put(f"{write_fleet(tmp_path / 'in', files)}/", f"{bucket}/runs/", recursive=True)
    out = f"{bucket}/lake"

    code, _, err = run(capsys, "fleet", f"{bucket}/runs", "--out", out, "--workers", "1")
    assert (code, err) == (0, "3 traces: 3 analyzed\n")
    code, _, err = run(capsys, "fleet", f"{bucket}/runs/*/trace*.sqlite", "--out", out, "--workers", "1")
    assert (code, err) == (0, "3 traces: 0 analyzed, 3 were known\n")

    assert ask(out, "SELECT run, trace_rank, occurrences FROM phase_summary ORDER BY ALL") == [
        ("odd name+%", 0, 8), ("odd name+%", 1, 8), ("run1", None, 8),
    ]  # fmt: skip
    code, printed, _ = run(capsys, "sql", out, "SELECT path FROM traces WHERE run = 'run1'", "--format", "csv")
    assert (code, printed) == (0, "path\ns3://bucket/runs/run1/trace.sqlite\n")
    assert run(capsys, "fleet", out)[0] == 0


def test_what_is_not_in_a_bucket(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])

    for arguments, said in (
        (("fleet", f"{bucket}/none", "--out", f"{bucket}/lake"), "does not exist"),
        (("fleet", source, "--out", "s3://no-such-bucket/lake"), "cannot be written"),
        (("sql", f"{bucket}/none", "from traces"), "no dataset of a fleet"),
    ):
        code, _, err = run(capsys, *arguments)
        assert (code, said in err) == (2, True), err
    assert s3fs.S3FileSystem().ls("") == ["bucket"]
