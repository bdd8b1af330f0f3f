"""Tell running out of memory from other errors."""

from __future__ import annotations


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on the device or on the host.

    torch's allocator for the host raises a plain RuntimeError, which only its words tell.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and (
        "not enough memory" in words or "can't allocate memory" in words
    )
