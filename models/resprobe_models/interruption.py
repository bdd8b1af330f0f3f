"""Ctrl-C and SIGTERM as a wish that the trainer grants after the step under way."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A launcher passes on what its processes got themselves: within that time it is one signal, in
# seconds.
ONE_SIGNAL = 1.0


@dataclass
class Wish:
    """Whether somebody wishes the run to stop, and since when."""

    to_stop: bool = False
    since: float = 0.0


@contextmanager
def stop_on_signal() -> Iterator[Wish]:
    """Turn SIGINT or SIGTERM into a wish; a second SIGINT, later, stops at once.

    Batch systems send SIGTERM some seconds before they kill. Outside the main thread, where
    Python takes no signals, nothing changes.

    Raises:
        KeyboardInterrupt: at the second SIGINT.
    """
    wish = Wish()

    def take(number: int, frame: FrameType | None) -> None:
        if not wish.to_stop:
            wish.to_stop, wish.since = True, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - wish.since >= ONE_SIGNAL:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    # A shell makes its background jobs ignore SIGINT, which is to stay so.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, take) for number in heard}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            # None: a handler that was not installed from Python, which can't be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
