"""Many traces as one dataset: find them, analyze each once, keep what is of bounded size, and read it all together."""
