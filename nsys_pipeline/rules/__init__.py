"""Rules that read meaning into names: NVTX ranges to phases, kernels to families. Data in TOML, tested on real ones."""
