"""Memory of this process, as its system tells it."""

import os
import sys


def peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows.
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # Neither macOS nor Windows tells it without a library.
        return peak_bytes()
