"""How a process that trains on a CPU keeps its memory."""

import ctypes
import platform
from functools import cache

# The C library's numbers for its settings (malloc.h), and what they are set to, in counts and bytes.
SETTINGS = {
    -4: 0,  # M_MMAP_MAX: no block is mapped by itself, whatever its size
    -1: 1 << 30,  # M_TRIM_THRESHOLD: this much may lie free
    -2: 1 << 26,  # M_TOP_PAD: asked for at a time
}


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what a step frees, for the next step takes as much.

    As it is, glibc gives activations back to the system as soon as they are freed, and each of their pages costs a
    fault when the next step takes it: up to a quarter of a step's time. No other C library is told anything.
    The settings are those of the main thread's pool; `launch` has all threads share it.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for setting, value in SETTINGS.items():
        mallopt(setting, value)
