"""The command line: one file per verb, listed in `group.COMMANDS`."""

import contextlib


def main() -> None:
    """Entry point of the `llmperf` command."""
    import gc
    import io
    import sys

    # Looking for cycles among what the imports leave takes a tenth of the time of a tiny trace.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    for stream in (sys.stdout, sys.stderr):
        # Paths and names that the encoding of the terminal lacks are shown escaped instead of failing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from nsys_pipeline.cli.app import app

        # A query that begins with a SQL comment is no option.
        sys.argv[1:] = [f"\n{argument}" if argument.startswith("-- ") else argument for argument in sys.argv[1:]]
        app(prog_name="llmperf")
    except KeyboardInterrupt:
        # While the program itself was still being imported, or was on its way out.
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)
    except SystemExit as error:
        _leave(error.code)
        # The interpreter looks for cycles once more on its way out, though all goes with the process.
        gc.freeze()
        raise


_OBJECTS_BETWEEN_COLLECTIONS = 200_000


def _leave(code: object) -> None:
    """End the process if something runs in it that nothing ends: the interpreter would wait for it."""
    import os
    import sys

    interrupt = sys.modules.get("nsys_pipeline.query.interrupt")
    if interrupt is not None and interrupt.has_left_work():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0)
