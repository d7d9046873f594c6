"""What a student's file says of itself: the names that its code uses, and which lab it is for."""

import ast


def names(source: str) -> set[str]:
    """The names that the code uses; words in comments and texts are none."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # nested too deeply
        return set()
    found = {node.id for node in nodes if isinstance(node, ast.Name)}
    found |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return found | {name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}


def stands_for(source: str, own: list[str], others: dict[int, list[str]]) -> tuple[str, str]:
    """Why none of the functions that a lab asks for is in a file: a cause, and what is said of it; or ("", "").

    Parameters
    ----------
    source : str
    own : list of str
        The functions of the lab.
    others : dict
        The functions of every other lab, by its number.

    Examples
    --------
    >>> stands_for("# nothing yet", ["check"], {})
    ('empty', 'There is no code in the file.')
    >>> stands_for("def pointwise(x, w): ...", ["check"], {1: ["pointwise"], 2: ["depthwise_backward"]})
    ('another-lab', 'There is no function check in the file, but pointwise: it looks like lab 1.')
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", ""
    if not any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body):
        return "empty", "There is no code in the file."
    there = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    if there & set(own):
        return "", ""
    shares = {number: len(there & set(asked)) / len(asked) for number, asked in others.items() if asked}
    likely = max(shares, key=lambda number: (shares[number], number), default=0)  # lab 5 holds those of lab 2 as well
    if not shares.get(likely):
        return "", ""
    found = next(name for name in others[likely] if name in there)
    return "another-lab", f"There is no function {own[0]} in the file, but {found}: it looks like lab {likely}."
