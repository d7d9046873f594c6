"""The containers that weights come in, a file each: what is in the bytes, not what it means.

Two of the readers are written by hand although libraries exist, because a file of weights may come from anyone. The
libraries for a `.pth` are PyTorch, which this package does without, and Python's `pickle`, which runs what the file
says; `torch_pickle` runs nothing. The library for an `.h5` is h5py. Of 2,000 files of Keras that were damaged as in
`tests/test_weights_fuzz.py`, h5py 3.16 with HDF5 2.0 left two in a loop without end, in C, where no time limit of
Python's reaches, and raised six kinds of errors for the others; none of them crashed it or filled the memory. `hdf5`
counts its steps, so it comes to an end with any bytes, and raises one kind of error: a test has 20,000 files of each
kind. Writing has no such needs, and uses h5py.
"""
