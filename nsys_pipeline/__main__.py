"""`python -m nsys_pipeline` is `llmperf`."""

from nsys_pipeline.cli import main

main()
