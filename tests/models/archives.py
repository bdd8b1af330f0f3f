"""Tar archives written member by member, and a server that hands one out as badly as asked."""

import gzip
import http.server
import re
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from resprobe_models.datasets import stl10

ROWS = {"train": 3, "test": 2}
NAME = "stl10_binary.tar.gz"
generator = np.random.default_rng(0)
CONTENTS = {
    "train_X.bin": generator.bytes(3 * stl10.PIXELS),
    "train_y.bin": bytes([1, 2, 3]),
    "test_X.bin": generator.bytes(2 * stl10.PIXELS),
    "test_y.bin": bytes([9, 10]),
}


def member(name, data=b"", kind=tarfile.REGTYPE, link=""):
    """Give one member of a tar file, header and padded body."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info.tobuf(tarfile.USTAR_FORMAT) + data + b"\0" * (-len(data) % 512)


def packed(members):
    return gzip.compress(b"".join(members) + b"\0" * 1024, compresslevel=1, mtime=0)


def good_archive():
    return packed(
        [
            member("stl10_binary/", kind=tarfile.DIRTYPE),
            member("stl10_binary/unlabeled_X.bin", b"not wanted"),
            *(member(f"stl10_binary/{name}", data) for name, data in CONTENTS.items()),
        ]
    )


GOOD = good_archive()


@dataclass
class Behaviour:
    """What the server does, request by request; `ranges` are the Range headers that came."""

    body: bytes = GOOD
    status: int = 200
    breaks: list = field(default_factory=list)  # bytes sent before each of the first answers ends
    knows_ranges: bool = True
    wrong_range: bool = False
    headers: dict = field(default_factory=dict)
    ranges: list = field(default_factory=list)
    asked: threading.Event | None = None  # set when a request is there; it is then answered
    go_on: threading.Event | None = None  # when this is set


@contextmanager
def archive_server():
    """Serve one archive at `url`, as `behaviour` says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            how = self.server.behaviour
            asked = self.headers.get("Range")
            how.ranges.append(asked)
            if how.asked is not None:
                how.asked.set()
                how.go_on.wait(60)
            body, status, headers = how.body, how.status, dict(how.headers)
            if asked and how.knows_ranges and status == 200:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if start >= len(body):
                    body, status = b"", 416
                else:
                    status, total = 206, len(body)
                    shown = start + 1 if how.wrong_range else start
                    headers["Content-Range"] = f"bytes {shown}-{total - 1}/{total}"
                    body = body[start:]
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body[: how.breaks.pop(0)] if how.breaks else body)
            self.close_connection = True

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.behaviour = Behaviour()
        running.url = f"http://127.0.0.1:{running.server_port}/{NAME}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()
