"""Finding nsys and learning its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.errors import NsysError
from nsys_pipeline.nsys.install import NSYS_VARIABLE, Nsys, candidates, find_nsys, importer_path
from tests.unit.capture.fake_nsys import fake_nsys


def test_version_and_options_come_from_the_program(tmp_path: Path) -> None:
    nsys = Nsys.probe(fake_nsys(tmp_path))
    assert (nsys.version, nsys.version_short) == ((2024, 2, 3, 38), "2024.2.3")
    assert nsys.profile_flags == {
        "capture-range",
        "cuda-graph-trace",
        "gpu-metrics-device",
        "python-sampling",
        "nvtx-domain-include",
        "nvtx-domain-exclude",
        "ib-switch-metrics-device",
        "trace",
        "trace-fork-before-exec",
    }
    assert nsys.export_flags == {"quiet"}


def test_named_wins_over_path_and_path_over_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, on_path = fake_nsys(tmp_path / "named", version="2025.3.1.1"), fake_nsys(tmp_path / "path")
    monkeypatch.setenv("PATH", f"{on_path.parent}:/usr/bin:/bin")
    monkeypatch.delenv(NSYS_VARIABLE, raising=False)
    assert find_nsys().path == on_path
    assert find_nsys(named).path == named
    monkeypatch.setenv(NSYS_VARIABLE, str(named))
    assert find_nsys().path == named


def test_newest_of_the_usual_places_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    old, new = (fake_nsys(tmp_path / version / "bin") for version in ("2024.9.1", "2024.10.1"))
    assert candidates([f"{tmp_path}/*/bin/nsys"]) == [new, old]


@pytest.mark.parametrize(
    ("version", "message"), [("2021.5.2", "needs 2022.4 or newer"), ("none", "is not Nsight Systems")]
)
def test_unusable(tmp_path: Path, version: str, message: str) -> None:
    with pytest.raises(NsysError, match=message) as caught:
        find_nsys(fake_nsys(tmp_path, version=version))
    assert caught.value.hint is not None
    assert "install_nsys.sh" in caught.value.hint


def test_none_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(NSYS_VARIABLE, raising=False)
    monkeypatch.setattr("nsys_pipeline.nsys.install.INSTALL_PLACES", ())
    monkeypatch.setattr(candidates, "__defaults__", ((),))
    with pytest.raises(NsysError, match="was not found"):
        find_nsys()


def test_named_but_missing() -> None:
    with pytest.raises(NsysError, match="`/nowhere/nsys` is not a program that can be run"):
        find_nsys("/nowhere/nsys")


def test_importer_is_a_sibling(tmp_path: Path) -> None:
    nsys = fake_nsys(tmp_path / "target-linux-x64")
    assert importer_path(nsys) is None
    importer = tmp_path / "linux-desktop-glibc_2_11_3-x64" / "QdstrmImporter"
    importer.parent.mkdir()
    importer.touch()
    assert importer_path(nsys) == importer
