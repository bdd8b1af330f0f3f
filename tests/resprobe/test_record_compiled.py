"""Under torch.compile recorded steps run uncompiled, the others compiled, and nothing is lost."""

import copy
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_record_edges import rows, stack

import resprobe
from resprobe import Recorder
from resprobe.errors import InputError

# torch itself looks at it while it traces a module whose input has a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
STEPS = 9
SAMPLES = torch.ones(2, 4)
NAMES = ("branch_norm", "branch_gradient_norm", "gradient_norm", "update_norm")


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Backend:
    """Runs each graph as it was traced, and counts the graphs and their calls."""

    def __init__(self):
        self.graphs, self.calls = 0, 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*args):
            self.calls += 1
            return graph(*args)

        return run


def wrapped(backend):
    net = stack()
    compiled = torch.compile(net, backend=backend)
    return compiled, compiled


def in_place(backend):
    net = stack()
    net.compile(backend=backend)
    return net, net


def in_parts(backend):
    net = stack()
    for block in net:
        block.compile(backend=backend)
    return net, net


def by_the_loop(backend):
    net = stack()
    return net, torch.compile(net, backend=backend)


WAYS = [wrapped, in_place, in_parts, by_the_loop]


def train(given, run, out, *, every=4, steps=STEPS, after=None, **options):
    optimizer = torch.optim.SGD(given.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(3)
    told = []
    options = {"optimizer": optimizer, "quantities": NAMES, "tell": told.append, **options}
    with Recorder(given, out, every=every, **options) as recorder:
        for step in range(1, steps + 1):
            x = torch.randn(8, 4, generator=generator)
            optimizer.zero_grad()
            loss = F.mse_loss(run(x), x)
            loss.backward()
            optimizer.step()
            recorder.step(loss)
            if after is not None:
                after(step)
    return told


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    net = stack()
    train(net, net, folder, every=1, jacobian_every=4, jacobian_samples=SAMPLES)
    return rows(folder), jacobians(folder)


def jacobians(out):
    tree = resprobe.open(out)
    found = tree["training/jacobian"].to_dataset().load()
    tree.close()
    return found["jacobian_frobenius_norm"]


def assert_same(found, expected):
    """Compare to the bit: what is compiled here runs the same operations."""
    for name in expected.data_vars:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=str(name))


def stance():
    return torch._dynamo.eval_frame._stance.stance


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_rows_are_those_of_the_uncompiled_training(way, plain, tmp_path):
    backend = Backend()
    given, run = way(backend)
    graphs, calls = [], []

    def after(_):
        graphs.append(backend.graphs)
        calls.append(backend.calls)

    told = train(given, run, tmp_path, after=after)
    assert_same(rows(tmp_path), plain[0].sel(step=[1, 5, 9]))
    parts = 1 if way in (wrapped, by_the_loop) else 3  # Sequential itself is not compiled
    assert graphs[0] == 0, "the first step is recorded, so it compiles nothing"
    assert 1 <= graphs[1] <= parts
    assert graphs[1:] == [graphs[1]] * (STEPS - 1), "nothing is compiled again"
    assert np.diff(calls).tolist() == [parts, parts, parts, 0] * 2, "the others run compiled"
    assert stance() == "default"
    assert told == []
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in given.modules())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_is_said_once_where_every_step_is_recorded(way, tmp_path):
    backend = Backend()
    told = train(*way(backend), tmp_path, every=1, steps=3)
    assert len(told) == 1
    assert "torch.compile gains nothing" in told[0]
    assert backend.graphs == 0


def test_jacobians_are_measured_between_compiled_steps(plain, tmp_path):
    backend = Backend()
    given, run = in_place(backend)
    options = {"every": 3, "jacobian_every": 4, "jacobian_samples": SAMPLES}
    told = train(given, run, tmp_path, steps=5, **options)
    assert told == []
    assert backend.calls == 3 * 3
    np.testing.assert_array_equal(jacobians(tmp_path), plain[1].sel(step=[1, 5]))


def planted(step):
    assert stance() == "force_eager"  # the next step is recorded too
    raise ValueError("planted")


def test_everything_is_as_before_after_an_exception(tmp_path):
    net, run = by_the_loop(Backend())
    with pytest.raises(ValueError, match="planted"):
        train(net, run, tmp_path / "a", every=1, after=planted)
    assert stance() == "default"
    with torch.compiler.set_stance("eager_on_recompile"):
        with pytest.raises(RuntimeError, match="mat1 and mat2"), Recorder(net, tmp_path / "b"):
            net(torch.ones(2, 5))
        assert stance() == "eager_on_recompile"
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())


class Hidden(torch.nn.Module):
    """Only a function of its branch is compiled, as in some transformers."""

    def __init__(self, backend):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.activation = torch.compile(lambda x: x.tanh(), backend=backend)

    def forward(self, x):
        return x + self.activation(self.linear(x))


def test_nothing_in_the_process_runs_uncompiled_for_a_network_that_is_not_compiled(tmp_path):
    backend, seen = Backend(), []
    net = stack()
    train(net, net, tmp_path / "b", every=1, steps=2, after=lambda _: seen.append(stance()))
    assert seen == ["default", "default"]
    net = stack(Hidden(backend))
    train(net, net, tmp_path / "c", every=1, steps=2, after=lambda _: seen.append(stance()))
    assert seen[2:] == ["force_eager", "force_eager"]
    assert backend.graphs == 0
    assert stance() == "default"


def test_a_stance_that_the_user_takes_meanwhile_stays(tmp_path):
    net, run = by_the_loop(Backend())
    theirs = []

    def take(step):
        theirs.append(torch.compiler.set_stance("eager_on_recompile"))

    train(net, run, tmp_path, every=1, steps=1, after=take)
    assert stance() == "eager_on_recompile"
    theirs[0].__exit__(None, None, None)  # to what was there when it was taken: ours
    assert stance() == "default"


def test_a_model_that_runs_as_a_copy_is_no_silent_loss(tmp_path):
    net = stack()
    with pytest.raises(InputError, match="not a copy or an export of it"):
        train(net, copy.deepcopy(net), tmp_path)


def test_the_model_may_be_copied_while_it_is_recorded(plain, tmp_path):
    """As for the best weights so far, or their average; no copy is recorded, or has its hooks."""
    net = stack()

    def keep(step):
        torch.save(net, tmp_path / "net.pt")
        for other in (copy.deepcopy(net), torch.load(tmp_path / "net.pt", weights_only=False)):
            other(torch.ones(2, 4)).sum().backward()
            hooks = [h for m in other.modules() for h in m._forward_hooks.values()]
            assert hooks
            assert {hook._act for hook in hooks} == {None}

    train(net, net, tmp_path, every=1, after=keep)
    assert_same(rows(tmp_path), plain[0])


def test_dynamo_says_nothing_of_the_hooks(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(*wrapped("aot_eager"), tmp_path)
    assert not [str(one.message) for one in caught if "hook" in str(one.message)]
