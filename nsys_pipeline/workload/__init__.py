"""What runs under a profiler. This room imports torch, transformers and PIL, and only inside functions.

Nothing is imported here: `auto` is loaded into programs whose environment may hold nothing but the standard library.
"""
