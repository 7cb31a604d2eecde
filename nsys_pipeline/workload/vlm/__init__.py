"""The workload `vlm`: images in, text out. Only the standard library is imported before a function is called."""
