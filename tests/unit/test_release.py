"""What a release does to the changelog and to the version."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline import __version__
from scripts.release import ROOT, VERSIONS, with_release, with_version

HEAD = "# Changelog\n\nNewest first.\n\n"


def test_fragments_go_under_what_was_unreleased_and_nothing_is_said_twice() -> None:
    changelog = (
        f"{HEAD}## 0.2.0 (unreleased)\n\nFaster.\n\n- One.\n  Goes on.\n- Two.\n\n## 0.1.0 (2026-01-02)\n\n- Zero.\n"
    )

    released = with_release(changelog, "0.2.0", "2026-03-04", ["- Two.\n- Three,\n  too.\n", "- Four.\n"])

    assert released == (
        f"{HEAD}## 0.2.0 (2026-03-04)\n\nFaster.\n\n- One.\n  Goes on.\n- Two.\n- Three,\n  too.\n- Four.\n\n"
        "## 0.1.0 (2026-01-02)\n\n- Zero.\n"
    )


def test_a_release_after_a_release_has_a_heading_of_its_own() -> None:
    first = with_release(HEAD, "0.1.0", "2026-01-02", ["- Zero.\n"])

    assert first == f"{HEAD}## 0.1.0 (2026-01-02)\n\n- Zero.\n"
    assert with_release(first, "0.2.0", "2026-03-04", ["- One.\n"]) == (
        f"{HEAD}## 0.2.0 (2026-03-04)\n\n- One.\n\n## 0.1.0 (2026-01-02)\n\n- Zero.\n"
    )
    with pytest.raises(ValueError, match=r"has 0\.1\.0 already"):
        with_release(first, "0.1.0", "2026-03-04", [])


def test_the_changelog_of_the_project_can_be_released() -> None:
    fragments = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "changelog.d").glob("*.md"))]

    released = with_release((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), "9.9.9", "2026-03-04", fragments)

    assert "## 9.9.9 (2026-03-04)\n" in released
    assert "(unreleased)" not in released


@pytest.mark.parametrize("name", VERSIONS)
def test_the_version_stands_once_where_it_is_written(name: str) -> None:
    text = Path(ROOT / name).read_text(encoding="utf-8")

    assert with_version(text, VERSIONS[name], "9.9.9").count("9.9.9") == 1
    assert with_version(text, VERSIONS[name], __version__) == text
    with pytest.raises(ValueError, match="0 versions"):
        with_version("", VERSIONS[name], "9.9.9")
