"""``python -m npmnv2.show.play docs/play.html``: the page to play with, written anew."""

import argparse
import sys

from npmnv2.show.play import write


def main(arguments: list[str] | None = None) -> int:
    """Write the page where the first argument says.

    Returns
    -------
    int
        0, or 1 after an error, which is printed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m npmnv2.show.play",
        description="Write the page to play with: convolutions, two paddings, the block, costs. It is one file, loads "
        "nothing, and a browser opens it from disk. A file that is there is replaced.",
    )
    parser.add_argument("path", metavar="FILE", help="where to write it, such as docs/play.html")
    path = parser.parse_args(arguments).path
    try:
        write(path)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
