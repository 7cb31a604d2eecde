"""llmperf: where the GPU time of a language model went, and how far it is from what the hardware can do."""

__version__ = "0.1.0"
