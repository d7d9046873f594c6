"""How this process runs: how many threads, which BLAS, which of its kernels, which processor. One place each."""
