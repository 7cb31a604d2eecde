"""The command line: one file per verb, listed in `group.COMMANDS`."""


def main() -> None:
    """Entry point of the `llmperf` command."""
    from nsys_pipeline.cli.app import app

    app(prog_name="llmperf")
