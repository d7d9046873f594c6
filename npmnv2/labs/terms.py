"""The terms of a result, its products one by one: the right ones, and the student's."""

from typing import Any

import numpy as np

from npmnv2.labs.product import Product
from npmnv2.validate import Array


class Terms:
    """The right terms and the student's, by the names of their columns."""

    def __init__(self, product: Product, right: Array, yours: Array, shapes: tuple[Any, ...]) -> None:
        self.product, self.array, self.shapes = product, yours, shapes
        self.right, self.yours = ({tuple(t) for t in terms.tolist()} for terms in (right, yours))
        self.missing, self.extra = self.right - self.yours, self.yours - self.right
        self.at = {name: k for k, name in enumerate(product.columns)}

    def column(self, name: str, terms: Any = None) -> Array:
        chosen = self.array if terms is None else np.array(sorted(terms)).reshape(-1, len(self.product.columns))
        return chosen[:, self.at[name]]

    def choose(self, wanted: dict[str, set[int]]) -> set[Any]:
        """The right terms that have one of these indices in one of these columns."""
        return {t for t in self.right if any(t[self.at[name]] in indices for name, indices in wanted.items())}

    def difference(self) -> str:
        """The first element of the result that is wired wrongly: what it must receive, and what it does."""
        columns = self.product.columns
        kinds = [[k for k, name in enumerate(columns) if name[0] == kind] for kind in "ruc"]

        def where(term: Any, kind: int) -> tuple[int, ...]:
            return tuple(term[k] for k in kinds[kind])

        p = self.product
        by_unit = [where(t, 0) + where(t, 1) for t in self.missing | self.extra]
        first = min(by_unit)
        mine, must = ([t for t in s if where(t, 0) + where(t, 1) == first] for s in (self.yours, self.right))
        r, u = first[: len(kinds[0])], first[len(kinds[0]) :]

        def named(terms: Any) -> str:
            listed = [f"{p.coded[0]}{_index(where(t, 2))}" for t in sorted(terms)]
            return " + ".join(listed[:3]) + (f" + {len(listed) - 3} more" if len(listed) > 3 else "")

        to, source = f"{p.result}{_index(r)}", f"{p.unit[0]}{_index(u)}"
        if not kinds[2]:
            return f"{to} must be {source}; yours is not." if must else f"{to} must not hold {source}; yours does."
        if must:
            yours = f"yours receives it times {named(mine)}" if mine else "yours does not"
            return f"{to} must receive {source} times {named(must)}; {yours}."
        return f"{to} must receive nothing from {source}; yours receives it times {named(mine)}."


def _index(place: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, place))}]"
