"""Ctrl-C and SIGTERM as a wish that the trainer grants after the step under way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Wish:
    """Whether somebody wishes the run to stop."""

    to_stop: bool = False


@contextmanager
def stop_on_signal() -> Iterator[Wish]:
    """Turn the first SIGINT or SIGTERM into a wish; the second one stops at once.

    Batch systems send SIGTERM some seconds before they kill. Outside the main thread, where
    Python takes no signals, nothing changes.

    Raises:
        KeyboardInterrupt: at the second signal.
    """
    wish = Wish()

    def take(number: int, frame: FrameType | None) -> None:
        if wish.to_stop:
            raise KeyboardInterrupt
        wish.to_stop = True

    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, take) for number in _SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            # None: a handler that was not installed from Python, which can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
