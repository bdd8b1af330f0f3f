"""Downloads from a server on this machine that behaves badly in every way that servers do.

The data set is the real reader with fewer rows; its archive is written here member by member, and
its address and checksum come in by the same record as the published ones.
"""

import hashlib
import io
import re
import resource
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from archives import CONTENTS, GOOD, NAME, ROWS, Behaviour, archive_server, member, packed
from resprobe_models.datasets import cache, stl10, transfer, transfer_progress
from resprobe_models.datasets.cache import Download

from resprobe.errors import DiskFullError, InputError

WORK = ".stl10.download"


@pytest.fixture
def server():
    with archive_server() as running:
        yield running


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "cache"
    monkeypatch.setenv("RESPROBE_DATA", str(place))
    monkeypatch.setattr(transfer, "PAUSES", (0,) * len(transfer.PAUSES))
    return place


def served(url, body=GOOD):
    """The real STL-10 with fewer rows and another address and checksum."""
    download = Download(url, f"md5:{hashlib.md5(body).hexdigest()}")
    return replace(stl10.FILES, rows=ROWS, download=download)


def names_in(folder):
    """What lies in the cache, but for the lock."""
    return {path.name for path in folder.iterdir()} - {".stl10.lock"}


def check_whole(files, folder):
    train, test = files.load("train", None), files.load("test", None)
    columns = np.frombuffer(CONTENTS["train_X.bin"], np.uint8).reshape(3, 3, 96, 96)
    assert np.array_equal(train.images, columns.swapaxes(2, 3))
    assert train.labels.tolist() == [0, 1, 2]
    assert test.labels.tolist() == [8, 9]
    assert names_in(folder) == {"stl10_binary"}
    assert {path.name for path in (folder / "stl10_binary").iterdir()} == set(CONTENTS)


def test_a_set_is_downloaded_once_and_read_from_then_on(server, folder, capsys):
    files = served(server.url)
    check_whole(files, folder)
    assert server.behaviour.ranges == [None]
    words = capsys.readouterr()
    assert words.out == ""
    assert f"downloading {server.url} to {folder}" in words.err
    assert f"stl10 is in {folder}" in words.err


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(server, folder, capsys):
    server.behaviour.breaks = [len(GOOD) // 2]
    check_whole(served(server.url), folder)
    first, second = server.behaviour.ranges
    assert first is None
    have = int(re.fullmatch(r"bytes=(\d+)-", second)[1])
    # All that came is kept but for the chunk under way.
    assert len(GOOD) // 2 - transfer.CHUNK <= have <= len(GOOD) // 2
    assert "the connection broke off" in capsys.readouterr().err


def test_a_download_that_was_given_up_is_taken_up_by_the_next_try(server, folder):
    attempts = len(transfer.PAUSES)
    server.behaviour.breaks = [20_000] * attempts
    with pytest.raises(InputError, match=f"{attempts} times; what was received is kept"):
        served(server.url).load("train", None)
    have = (folder / WORK / f"{NAME}.part").stat().st_size
    assert attempts * transfer.CHUNK <= have <= attempts * 20_000
    server.behaviour = Behaviour()
    check_whole(served(server.url), folder)
    assert server.behaviour.ranges == [f"bytes={have}-"]


def test_a_server_without_ranges_sends_the_file_anew(server, folder):
    server.behaviour.knows_ranges = False
    server.behaviour.breaks = [100_000]
    check_whole(served(server.url), folder)
    assert server.behaviour.ranges[0] is None
    assert server.behaviour.ranges[1].startswith("bytes=")


def test_a_server_that_sends_another_range_is_asked_for_the_whole(server, folder):
    server.behaviour.wrong_range = True
    server.behaviour.breaks = [100_000]
    check_whole(served(server.url), folder)
    assert [asked is None for asked in server.behaviour.ranges] == [True, False, True]


def test_a_part_that_lacks_nothing_is_taken_as_it_is(server, folder):
    (folder / WORK).mkdir(parents=True)
    (folder / WORK / f"{NAME}.part").write_bytes(GOOD)
    check_whole(served(server.url), folder)
    assert server.behaviour.ranges == [f"bytes={len(GOOD)}-"]


def test_an_archive_that_was_not_unpacked_any_more_is_not_fetched_again(server, folder):
    (folder / WORK).mkdir(parents=True)
    (folder / WORK / NAME).write_bytes(GOOD)
    check_whole(served(server.url), folder)
    assert server.behaviour.ranges == []


def test_what_a_killed_unpacking_left_is_never_read_and_does_no_harm(server, folder):
    half = folder / WORK / "unpacked" / "stl10_binary"
    half.mkdir(parents=True)
    (half / "train_X.bin").write_bytes(CONTENTS["train_X.bin"][:99])
    (half / "train_y.bin").write_bytes(CONTENTS["train_y.bin"])
    check_whole(served(server.url), folder)


def test_an_archive_that_is_labelled_as_compressed_stays_as_it_is(server, folder):
    server.behaviour.headers = {"Content-Encoding": "x-gzip", "Content-Type": "application/x-tar"}
    check_whole(served(server.url), folder)


def test_a_wrong_checksum_leaves_nothing_and_the_next_try_works(server, folder):
    server.behaviour.body = GOOD[:5000] + bytes([GOOD[5000] ^ 1]) + GOOD[5001:]
    files = served(server.url)
    with pytest.raises(InputError, match="its checksum is not the published one") as raised:
        files.load("train", None)
    assert server.url in str(raised.value)
    assert list((folder / WORK).iterdir()) == []
    server.behaviour = Behaviour()
    check_whole(files, folder)


def test_a_part_of_another_file_fails_once_and_then_works(server, folder):
    (folder / WORK).mkdir(parents=True)
    (folder / WORK / f"{NAME}.part").write_bytes(b"another file")
    with pytest.raises(InputError, match="checksum"):
        served(server.url).load("train", None)
    check_whole(served(server.url), folder)


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (500, "500 Internal")])
def test_a_server_that_refuses_is_quoted_and_asked_once(server, folder, status, words):
    server.behaviour.status = status
    with pytest.raises(InputError) as raised:
        served(server.url).load("test", None)
    message = str(raised.value)
    assert f"the server answers {words}" in message
    assert "login node" in message
    assert "--data-dir" in message
    assert len(server.behaviour.ranges) == 1
    assert "\n" not in message


def test_without_a_network_it_says_so_and_how_to_fetch_elsewhere(folder):
    with pytest.raises(InputError) as raised:
        served(f"http://127.0.0.1:9/{NAME}").load("test", None)
    message = str(raised.value)
    assert "Connection refused" in message
    assert "object at 0x" not in message
    (command,) = re.findall(r"`python -c \"(.*)\"`", message)
    compile(command, "the command", "exec")
    assert "resprobe_models.datasets.stl10" in command


def test_a_host_that_does_not_exist_is_no_traceback(folder, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name)
    # RFC 2606 keeps this name free; it cannot resolve.
    with pytest.raises(InputError, match=r"stl10 is not in .* cannot be downloaded"):
        served(f"http://nowhere.invalid/{NAME}").load("test", None)


def test_a_folder_of_the_users_is_read_and_nothing_is_downloaded(server, folder, tmp_path):
    with pytest.raises(InputError, match="lacks train_X"):
        served(server.url).load("train", tmp_path)
    assert server.behaviour.ranges == []
    assert not folder.exists()


def test_a_file_that_is_deleted_from_the_cache_comes_back_and_others_stay(server, folder):
    files = served(server.url)
    check_whole(files, folder)
    (folder / "stl10_binary" / "train_y.bin").unlink()
    (folder / "stl10_binary" / "notes.txt").write_text("mine")
    assert len(files.load("train", None)) == 3
    assert (folder / "stl10_binary" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["file", "file/below", "locked"])
def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path, server, place):
    (tmp_path / "file").write_text("x")
    (tmp_path / "locked" / ".stl10.lock").mkdir(parents=True)
    monkeypatch.setenv("RESPROBE_DATA", str(tmp_path / place))
    with pytest.raises(InputError, match=rf"cannot be put into .*{place} .*set RESPROBE_DATA"):
        served(server.url).load("train", None)
    assert server.behaviour.ranges == []


def test_a_download_larger_than_the_disk_is_not_begun(server, folder, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000}))
    with pytest.raises(DiskFullError, match=r"no room for stl10 .*RESPROBE_DATA"):
        served(server.url).load("train", None)


@pytest.mark.parametrize("share", [0.3, 1.0], ids=["while downloading", "while unpacking"])
def test_a_disk_that_fills_up_ends_in_a_sentence_and_the_rest_is_not_fetched_twice(
    server, folder, share
):
    # Every member fits the archive but the archive not the limit; or only a member does not.
    limit = int(share * len(GOOD)) if share < 1 else None
    files, body = served(server.url), GOOD
    if limit is None:
        large = bytes(2 * len(GOOD))
        body = packed([member("stl10_binary/train_X.bin", large)])
        files, limit = served(server.url, body), len(GOOD)
    server.behaviour.body = body
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(DiskFullError, match="no room for stl10"):
            files.load("train", None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (folder / WORK / "unpacked").exists()
    if share < 1:
        check_whole(files, folder)
        assert server.behaviour.ranges[1] == f"bytes={limit}-"
    else:
        assert (folder / WORK / NAME).exists()  # whole; it is unpacked by the next try


def test_a_second_process_waits_and_nothing_is_downloaded_twice(server, folder, tmp_path):
    script = tmp_path / "fetch.py"
    script.write_text(
        "import sys\nfrom dataclasses import replace\n"
        "from resprobe_models.datasets import stl10\n"
        "from resprobe_models.datasets.cache import Download\n"
        "files = replace(stl10.FILES, rows={'train': 3, 'test': 2},\n"
        "                download=Download(sys.argv[1], sys.argv[2]))\n"
        "print(len(files.load('train', None)))\n"
    )
    words = [sys.executable, script, server.url, served(server.url).download.checksum]
    server.behaviour.asked, server.behaviour.go_on = threading.Event(), threading.Event()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as first:
        assert server.behaviour.asked.wait(60)
        with subprocess.Popen(words, **pipes) as second:
            told = second.stderr.readline()
            server.behaviour.go_on.set()
            assert second.communicate(timeout=60)[0] == "3\n"
        assert first.communicate(timeout=60)[0] == "3\n"
    assert f"in use by process {first.pid}" in told
    assert server.behaviour.ranges == [None]


def test_threads_at_once_download_once(server, folder):
    files, found = served(server.url), []
    threads = [
        threading.Thread(target=lambda: found.append(len(files.load("train", None))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 4
    assert server.behaviour.ranges == [None]


def test_a_pipe_gets_a_line_now_and_then(server, folder, capsys, monkeypatch):
    monkeypatch.setattr(transfer_progress, "LINE_SECONDS", 0.0)
    served(server.url).load("train", None)
    assert "stl10: 0 of 0 MB\n" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(server, folder, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    server.behaviour.breaks = [100_000]
    served(server.url).load("train", None)
    shown = terminal.getvalue()
    assert "138.9/138.9 kB" in shown
    assert "the connection broke off" in shown


def test_quiet_commands_show_nothing(server, folder, capsys):
    import click

    command = click.Command("any", params=[click.Option(["--quiet"], is_flag=True)])
    files = served(server.url)
    with click.Context(command) as context:
        context.params = {"quiet": True}
        files.load("train", None)
    assert capsys.readouterr().err == ""


def test_the_cache_is_the_users_unless_the_variable_names_another(monkeypatch, tmp_path):
    monkeypatch.setenv("RESPROBE_DATA", "~/sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "sets"
    monkeypatch.delenv("RESPROBE_DATA")
    assert cache.cache_folder().name == "resprobe"
