"""Ask a trace anything: read-only SQL over the public views, which are built when a query mentions them."""
