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
