"""Records → one document → terminal, Markdown, HTML and JSON. Nothing here reads a trace or computes a number."""
