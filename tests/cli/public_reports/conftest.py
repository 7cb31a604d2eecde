"""Reports of the public are a history of a thousand small analyses: the quick tests leave them out."""

from __future__ import annotations

from pathlib import Path

import pytest

#: It reads documents, and is quick.
QUICK = "test_rows.py"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest gives each conftest the items of all folders."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name != QUICK:
            item.add_marker(pytest.mark.slow)
