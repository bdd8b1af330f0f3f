"""All tests run on one thread: results do not depend on the machine, and two cores stay free."""

import sys

import pytest
import torch
from hypothesis import settings

from resprobe.quantities.quantity import DEFAULT_SAMPLES

# A deadline of milliseconds would make tests depend on timing.
settings.register_profile("resprobe", deadline=None)
settings.load_profile("resprobe")


def pytest_configure():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread():
    """Undo what a test, or a command that it ran, set."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nothing_is_left_uncompiled():
    """Find the test that would let everything after it run without torch.compile."""
    yield
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    if compiler is not None and (left := compiler._stance.stance) != "default":
        compiler._stance = compiler.DynamoStance()
        pytest.fail(f"the test left torch.compile in the stance {left}")


@pytest.fixture(scope="session", autouse=True)
def few_jacobians():
    """Measure two samples instead of sixteen by default: most tests collect for something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEFAULT_SAMPLES, "jacobian", 2)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network(tmp_path_factory):
    """No test reaches out, and none reads or fills anybody's cache of data sets."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1")
        patch.setenv("RESPROBE_DATA", str(tmp_path_factory.mktemp("data-sets")))
        yield
