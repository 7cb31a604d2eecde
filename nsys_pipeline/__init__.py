"""llmperf: where did my GPU time go, and how far am I from what the hardware can do?"""

__version__ = "0.1.0"
