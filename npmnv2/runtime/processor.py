"""Which processor this is."""


def cpuinfo() -> dict[str, str]:
    """What Linux tells of the first core, such as "model name" and "flags"; nothing on another system."""
    told: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                told.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    return told
