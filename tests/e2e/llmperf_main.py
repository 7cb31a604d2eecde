"""Start `llmperf` in a process of its own; until the command line is assembled, its capture verbs alone."""

from __future__ import annotations

import importlib
import sys

try:
    from nsys_pipeline.cli import main
except ImportError:
    import typer

    from nsys_pipeline.errors import LlmperfError

    def main() -> None:
        app = typer.Typer(pretty_exceptions_enable=False)
        for verb in ("capture", "export", "doctor"):
            try:
                module = importlib.import_module(f"nsys_pipeline.cli.{verb}")
            except ImportError:
                continue
            app.command(verb)(getattr(module, verb))
        try:
            app()
        except LlmperfError as error:
            sys.stderr.write(f"error: {error.message}\n" + (f"\nhint: {error.hint}\n" if error.hint else ""))
            sys.exit(int(error.exit_code))


if __name__ == "__main__":
    main()
