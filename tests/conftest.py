"""All tests run on one thread: results do not depend on the machine, and two cores stay free."""

import pytest
import torch
from hypothesis import settings

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
