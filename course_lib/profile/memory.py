import ctypes
def keep_freed_memory() -> None:
    """Let this process keep memory that tensors have given back, for the next ones.

    The C library hands blocks above 32 MiB, and the end of the heap, back to the system at once, and
    then every step pays again for each page of them: 4 to 7 % of a CPU step. A no-op where the C
    library is another one than glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: below a GiB, blocks come from the heap
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and its end is kept
