"""Reads from the memory that a student's function holds whether it computes the wide middle in parts.

A function that never has the middle whole holds fewer bytes than the middle has. One that does not is asked again, with
other t: by how the most bytes at one time change with t, and by how large the largest array is that its arithmetic
makes, one tells where the middle comes together.
"""

from typing import Any

from npmnv2.labs.lab import Case, Measure
from npmnv2.labs.product import Finding

PARTS = 49  # of 97 channels: two channels a part at most


def explain(case: Case, arguments: tuple[Any, ...], measure: Measure) -> Finding | None:
    """Why too much memory is held, in the case that asks for it; None if all is well."""
    if case.sizes["t"] != PARTS:
        return None
    *arrays, t = arguments
    x, we = arrays[:2]
    E = we.shape[1]
    pixels = x[..., 0].size
    middle = pixels * E * x.itemsize
    first = measure(arguments)
    if first.bytes is None or first.bytes < pixels * arrays[3].shape[1] * x.itemsize:  # out alone has more
        return Finding("unexplained", "The memory that your function holds could not be measured.")
    if first.bytes < middle:
        return None
    one, most = (measure((*arrays, parts)) for parts in (1, E))
    if one.bytes is None or most.bytes is None:
        return Finding("unexplained", f"With t = {t} your function holds {first.bytes:,} bytes; it fails for other t.")
    says = (
        f"With t = {t} your function holds {first.bytes:,} bytes at one time, with t = 1 {one.bytes:,}, "
        f"with t = {E} {most.bytes:,}; the wide tensor alone has {middle:,}."
    )
    if first.largest is None or one.largest is None or most.largest is None:
        return Finding("middle-whole", f"{says} So it is there as a whole.")
    if most.largest > 5 * one.largest:
        return Finding("parts-of-t", f"{says} More parts take more: your parts have t channels each.")
    if most.largest >= pixels * E:
        return Finding("middle-whole", f"{says} One of your arrays has all {E} channels, however many parts there are.")
    if first.largest > one.largest / 5:
        width = round(E * first.largest / one.largest)
        must = -(-E // t)
        return Finding(
            "parts-uneven", f"{says} With t = {t} a part may have {must} channels; your largest has about {width}."
        )
    return Finding("parts-kept", f"{says} You compute one part at a time, but what is done stays in memory.")
