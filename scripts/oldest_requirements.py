"""Print the oldest versions that pyproject.toml allows, as requirements: what it promises is what CI installs.

    pip install $(python scripts/oldest_requirements.py workload test)

Each argument is an extra; the dependencies of the package itself are always among them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+(?:\[[^]]*\])?)\s*>=\s*(?P<version>[0-9.]+)")


def oldest(extras: list[str]) -> list[str]:
    """Return each direct requirement as `name==oldest version`. Raises SystemExit for one without a lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += [one for one in project["optional-dependencies"][extra] if not one.startswith(project["name"])]
    pins = {}
    for requirement in wanted:
        bound = _BOUND.match(requirement)
        if bound is None:
            raise SystemExit(f"`{requirement}` in pyproject.toml has no lower bound")
        pins[bound["name"]] = bound["version"]
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


if __name__ == "__main__":
    print(*oldest(sys.argv[1:]), sep="\n")
