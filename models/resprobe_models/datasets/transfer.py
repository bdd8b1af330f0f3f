"""One file over HTTP, which goes on where it was broken off."""

from __future__ import annotations

import errno
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resprobe_models.datasets.transfer_progress import Shown

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CONNECT_SECONDS, READ_SECONDS = 10, 60
PAUSES = (0, 1, 2, 4, 8)  # seconds before each attempt
CHUNK = 1 << 14  # bytes; of a broken-off connection at most the last such piece is lost


class TransferError(Exception):
    """The file cannot be had; the text says why."""


class _BrokenOffError(TransferError):
    """The connection ended before the file did."""


def transfer(url: str, part: Path, shown: Shown) -> None:
    """Download a file, adding to what `part` has of it.

    A connection that breaks off after it brought something is taken up again, a few times; a
    server that is not there is not waited for. A server that does not know ranges sends the file
    from its beginning. Whether the parts fit each other is for the checksum to say.

    Args:
        url: http or https.
        part: is completed; it is kept if this fails.
        shown: is told how far it is.

    Raises:
        TransferError: there is no connection, the server refuses, or it breaks off too often.
        OSError: `part` cannot be written; with ENOSPC where there is no room.
    """
    for pause in PAUSES:
        time.sleep(pause)
        try:
            _receive(url, part, shown)
        except _BrokenOffError as error:
            last = error
            shown.say(f"the connection broke off ({error}), going on")
        else:
            return
    raise TransferError(
        f"{last}, {len(PAUSES)} times; what was received is kept, and the next try goes on there"
    )


def _receive(url: str, part: Path, shown: Shown) -> None:
    import requests

    have = part.stat().st_size if part.exists() else 0
    # The bytes as they are published: no server may compress them again on the way.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
        )
    except requests.RequestException as error:
        raise TransferError(_reason(error)) from error
    with response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is missing
        if not response.ok:
            raise TransferError(f"the server answers {response.status_code} {response.reason}")
        if response.status_code != requests.codes.partial_content:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise _BrokenOffError("the server sent another range than was asked for")
        _append(response, part, have, shown)


def _append(response: Any, part: Path, have: int, shown: Shown) -> None:
    """Write the body of a response behind the first `have` bytes."""
    from urllib3.exceptions import HTTPError

    length = response.headers.get("Content-Length", "")
    coming = int(length) if length.isdecimal() else None
    if coming is not None and shutil.disk_usage(part.parent).free < coming:
        raise OSError(errno.ENOSPC, f"{coming:,} bytes are needed")
    shown.start(have, None if coming is None else have + coming)
    received = 0
    with part.open("ab" if have else "wb") as stream:
        # As it comes off the wire: requests would unpack a body that is labelled as gzip, and
        # many servers label .gz files so.
        body = response.raw.stream(CHUNK, decode_content=False)
        while True:
            try:
                chunk = next(body, None)
            except HTTPError as error:
                kind = _BrokenOffError if received else TransferError
                raise kind(_reason(error)) from error
            if chunk is None:
                break
            stream.write(chunk)
            received += len(chunk)
            shown.at(have + received)
    if coming is not None and received < coming:
        raise _BrokenOffError(f"{coming - received:,} bytes are missing")


def _reason(error: Exception) -> str:
    """Give the innermost cause in a few words, without the object addresses of its wrappers."""
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    text = getattr(inner, "strerror", None) or str(inner)
    return re.sub(r"<[^>]* at 0x[0-9a-f]+>:? ?", "", text) or type(inner).__name__
