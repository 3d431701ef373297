"""Memory settings of a process that trains on a CPU."""

import ctypes
import platform
from functools import cache

# The C library's numbers of its settings (malloc.h), and their values, in counts and bytes.
SETTINGS = {
    -4: 0,  # M_MMAP_MAX: no block gets a mapping of its own, whatever its size
    -1: 1 << 30,  # M_TRIM_THRESHOLD: this much may stay free
    -2: 1 << 26,  # M_TOP_PAD: requested at a time
}


@cache
def keep_freed_memory() -> None:
    """Make glibc keep the memory that a step frees, because the next step needs as much.

    By default, glibc returns activations to the system as soon as they are freed.  Each of their pages then causes a
    page fault in the next step, which costs up to a quarter of a step's time.  Other C libraries are left as they are.
    The settings apply to the main thread's pool; `launch` makes all threads share it.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for setting, value in SETTINGS.items():
        mallopt(setting, value)
