"""Do something to a module right after a program imported it. Only the standard library is imported here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from nsys_pipeline import markers

Patches = Mapping[str, Callable[[ModuleType], None]]
"""Name of a module → what is done to it."""


def after_import(patches: Patches, *, what: str) -> None:
    """Patch those modules that are there, and the others when they are; once for each `patches`.

    After an error, no `what` is said.
    """
    if any(isinstance(finder, _Finder) and finder.patches is patches for finder in sys.meta_path):
        return
    for name, patch in patches.items():
        if name in sys.modules:
            patch(sys.modules[name])
    sys.meta_path.insert(0, _Finder(patches, what))


class _Finder:
    """Finds nothing itself, but has a module patched right after it was executed.

    No subclass of `importlib.abc.MetaPathFinder`: to import it brings `tempfile` and a dozen more into every start.
    """

    def __init__(self, patches: Patches, what: str) -> None:
        self.patches = patches
        self._what = what
        self._searching = False

    def find_spec(self, fullname: str, *_: Any) -> Any:
        if fullname not in self.patches or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            execute, patch = spec.loader.exec_module, self.patches[fullname]

            def execute_and_patch(module: ModuleType) -> None:
                execute(module)
                try:
                    patch(module)
                except Exception as error:  # noqa: BLE001, RUF100 - an unknown version must still run
                    sys.stderr.write(f"{markers.MESSAGE}no {self._what} for this version of {fullname}: {error!r}\n")

            spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec
