"""How this process runs: how many threads, which BLAS, which of its kernels. One place each."""
