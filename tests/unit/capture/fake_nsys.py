"""A stand-in for nsys: a shell script that answers as told, also what no nsys at hand would say."""

from __future__ import annotations

from pathlib import Path

PROFILE_HELP = """
usage: nsys profile [<args>] [application] [<application args>]

\t-c, --capture-range=

\t   Used with --capture-range-end; prose may mention --no-such-option.

\t--cuda-graph-trace=<granularity>[:<launch origin>]
\t--gpu-metrics-device=
\t--python-sampling=
\t--nvtx-domain-[include|exclude]=
\t(Experimental) --ib-switch-metrics-device=<IB switch GUID>
\t-t, --trace=
\t--trace-fork-before-exec=
"""


def fake_nsys(
    directory: Path,
    *,
    version: str = "2024.2.3.38-242334140272v0",
    profile_help: str = PROFILE_HELP,
    export: str = "exit 1",
) -> Path:
    """Write the script and return its path; `export` is the shell code of `nsys export`."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "nsys"
    path.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo "NVIDIA Nsight Systems version {version}"; exit 0; fi\n'
        f"if [ \"$1 $2\" = 'profile --help' ]; then cat <<'END'\n{profile_help}END\nexit 0; fi\n"
        "if [ \"$1 $2\" = 'export --help' ]; then echo '  -q, --quiet='; exit 0; fi\n"
        f'if [ "$1" = export ]; then\n{export}\nfi\n'
        "exit 0\n"
    )
    path.chmod(0o755)
    return path


def report(path: Path, version: str = "2024@2@3@38") -> Path:
    """Write a file that begins as a report of that version does."""
    path.write_bytes(f"NVIDIA Tegra Profiler Report {version}-242334140272v0.\nrest".encode())
    return path
