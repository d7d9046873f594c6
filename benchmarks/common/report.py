"""What the reports share: some words, and the ticks of their pictures."""


def processor(info):
    """The machine's name, from `measure.environment`."""
    return info.get("cpu", info["system"])


def machine(info):
    """The machine in a line."""
    return f"{processor(info)}, {info['cores']} cores"


def thread_count(n):
    """In words: 1 thread, 2 threads."""
    return f"{n} thread{'s'[: n > 1]}"


def show_turns(report):
    """How many turns were kept although others used the machine; nothing if none was."""
    turns, disturbed = report["turns"].values()
    if disturbed:
        print(f"{disturbed} of {turns} turns were disturbed by other programs")


def show_missing(report):
    """Who was left out, and why."""
    for name, reason in report["missing"].items():
        print(f"left out: {name} ({reason}); pip install npmnv2[peers]")


def plain_ticks(axis):
    """1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib import ticker

    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(ticker.NullFormatter())
