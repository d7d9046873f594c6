"""What people see: summaries, timings, pictures, the tour. Functions; the commands that call them are in `cli/`.

For pictures in a notebook: ``from npmnv2.show import plots``.
"""
