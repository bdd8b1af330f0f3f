"""An existing scheduler: refused in one sentence where it or a worker does not fit."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from distributed import Client
from resprobe_analyses.sweeps import run_sweep, to_toml
from resprobe_analyses.sweeps.cluster import workers_of
from sweeping import attempts, environment, scheduler, tiny, until, worker

import resprobe
from resprobe.cli.main import resprobe_command
from resprobe.errors import InputError, ResprobeError


@pytest.fixture
def silent_port():
    """A port where somebody listens who never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]  # bound, so that nobody else listens there


@pytest.mark.parametrize("kind", ["silent_port", "closed_port"])
def test_a_scheduler_that_does_not_answer_is_refused_within_ten_seconds(kind, request, tmp_path):
    address = f"tcp://127.0.0.1:{request.getfixturevalue(kind)}"
    file = tmp_path / "tiny.toml"
    file.write_text(to_toml(tiny()))
    words = ["sweep", str(file), "-o", str(tmp_path / "out"), "--scheduler", address]
    begun = time.monotonic()
    result = CliRunner().invoke(resprobe_command, words)
    assert result.exit_code == 2
    assert time.monotonic() - begun < 10
    assert f"{address} does not answer within 5 s" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.6\r\n", bytes(64)])
def test_a_port_of_another_program_is_refused(greeting, tmp_path):
    def greet(listening):
        with listening.accept()[0] as connection:
            connection.sendall(greeting)
            while connection.recv(1024):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as aside:
        aside.submit(greet, listening)
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(InputError, match=f"the scheduler at {address} can't be reached"):
            run_sweep(tiny(), tmp_path / "out", scheduler=address)


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:1", "tcp://", "10.0.0.1:port"])
def test_what_is_no_address_is_refused(address, tmp_path):
    with pytest.raises(InputError, match="scheduler"):
        run_sweep(tiny(), tmp_path / "out", scheduler=address)


def other_version(folder):
    """Make a folder on Python's path in which resprobe says that it is of another version."""
    metadata = folder / "resprobe-9.9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: resprobe\nVersion: 9.9.9\n")
    return folder


def test_a_worker_of_another_version_is_refused_by_name(tmp_path):
    old = environment(other_version(tmp_path / "other"))
    with (
        scheduler(tmp_path) as address,
        Client(address) as client,
        worker(address, name="old", env=old),
    ):
        client.wait_for_workers(1)
        with pytest.raises(InputError, match=r"9\.9\.9") as refused:
            run_sweep(tiny(), tmp_path / "out", scheduler=address)
        assert next(iter(client.nthreads())) in str(refused.value)
        assert resprobe.__version__ in str(refused.value)
        assert attempts(tmp_path / "out") == {}


def test_a_worker_of_another_version_that_comes_later_gets_no_runs(tmp_path):
    old = environment(other_version(tmp_path / "other"))
    told = []
    with scheduler(tmp_path) as address, Client(address) as client, ThreadPoolExecutor(1) as aside:
        sweep = aside.submit(
            run_sweep, tiny(), tmp_path / "out", scheduler=address, tell=told.append
        )
        until(lambda: any("0 workers of" in line for line in told), "the sweep")
        with worker(address, name="old", env=old):
            until(lambda: any("9.9.9" in line for line in told), "a word on the old worker")
            assert attempts(tmp_path / "out") == {}
            assert list(workers_of(client).values()) == [False]
            with worker(address, name="new"):
                (outcome,) = sweep.result()
    assert (outcome.status, outcome.attempts) == ("finished", 1)


def test_a_scheduler_that_goes_meanwhile_ends_the_sweep_with_a_sentence(tmp_path):
    told = []
    with ThreadPoolExecutor(1) as aside:
        with scheduler(tmp_path) as address:
            sweep = aside.submit(
                run_sweep, tiny(), tmp_path / "out", scheduler=address, tell=told.append
            )
            until(lambda: any("0 workers of" in line for line in told), "the sweep")
        with pytest.raises(ResprobeError, match="the scheduler is gone"):
            sweep.result()
