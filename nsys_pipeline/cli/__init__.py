"""The command line: one file per verb, listed in `group.COMMANDS`."""


def main() -> None:
    """Entry point of the `llmperf` command."""
    import io
    import sys

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
