"""A Matplotlib figure that a notebook shows when it is the last expression of a cell."""

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure made without pyplot, which opens windows and keeps every figure it has made.

    A notebook shows a plain figure only once pyplot is imported there. This one says itself how it looks.

    Examples
    --------
    >>> Picture(figsize=(1, 1))._repr_png_()[1:4]
    b'PNG'
    """

    def _repr_png_(self) -> bytes:
        """The picture, for IPython."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
