"""Loaded by every Python process under `llmperf capture` with `--auto` or `--backend torch`, before the program.

This directory is first on PYTHONPATH. Whatever goes wrong here must never reach the program.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib would slow every start
_PACKAGE = os.path.dirname(os.path.dirname(_HERE))  # noqa: PTH120


def _run_shadowed_sitecustomize() -> None:
    """Run the sitecustomize of the environment, if it has one: this file hides it."""
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        # Who imports sitecustomize later gets the one that would be there without us.
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _install_markers() -> None:
    if importlib.util.find_spec("nsys_pipeline") is None:
        # Under its own name but from its own place: its neighbours must not become importable here.
        spec = importlib.util.spec_from_file_location(
            "nsys_pipeline",
            os.path.join(_PACKAGE, "__init__.py"),  # noqa: PTH118
            submodule_search_locations=[_PACKAGE],
        )
        if spec is None or spec.loader is None:
            return
        package = importlib.util.module_from_spec(spec)
        sys.modules["nsys_pipeline"] = package
        spec.loader.exec_module(package)
    from nsys_pipeline.workload import record

    if record.is_wanted():
        record.install()
    else:
        from nsys_pipeline.workload import auto

        auto.install()


for _step, _failure in (
    (_install_markers, "llmperf: markers are off in this process"),
    (_run_shadowed_sitecustomize, "Error in sitecustomize"),
):
    try:
        _step()
    except Exception as _error:  # noqa: BLE001, RUF100 - the program must start whatever happens
        sys.stderr.write(f"{_failure}: {_error!r}\n")
