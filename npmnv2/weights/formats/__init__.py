"""The containers that weights come in, a file each: what is in the bytes, not what it means.

Two of the readers are written by hand although libraries exist, because a file of weights may come from anyone. The
libraries for a `.pth` are PyTorch, which this package does without, and Python's `pickle`, which runs what the file
says; `torch_pickle` runs nothing. The library for an `.h5` is h5py. Of 2,000 files of Keras that were damaged as in
`tests/test_weights_fuzz.py`, h5py 3.16 with HDF5 2.0 left two in a loop without end, in C, where no time limit of
Python's reaches, and raised six kinds of errors for the others; none of them crashed it or filled the memory. `hdf5`
counts its steps, so it comes to an end with any bytes, and raises one kind of error: a test has 20,000 files of each
kind. Writing has no such needs, and uses h5py.

All readers and writers keep one contract, which their own docstrings do not say again. A path is a string or path-like.
A reader raises `FormatError` for anything that is no such file or a damaged one, whatever its bytes are; `OSError` if
there is no such file or it cannot be read; `ImportError` if it needs a library that is not installed. Its arrays are in
the order of the file, of the shapes and dtypes there, but for bfloat16, which NumPy has not: it becomes float32,
exactly. They are views of what was read, and so read-only; those of a .pth may be strided and share memory. A writer
takes arrays by name in any memory layout, replaces the file in one step when all is written (`atomic.writing`), and
raises `TypeError` or `ValueError` for what the format cannot hold.
"""
