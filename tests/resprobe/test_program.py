import gc
import weakref

import pytest
import torch
from nets import STYLES, post_activation, trained_looking
from torch import nn

from resprobe.blocks.operations import ControlFlowChanged
from resprobe.blocks.program import record
from resprobe.blocks.structure import Ref
from resprobe.errors import InputError, ViolationError

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=STYLES)
def net(request):
    return trained_looking(post_activation(request.param)).eval()


def test_recording_gives_the_model_s_own_output(net):
    with torch.no_grad():
        assert torch.equal(record(net, (X,)).result, net(X))


def test_replay_from_any_operation_gives_the_output_to_the_bit(net):
    with torch.no_grad():
        expected = net(X)
        program = record(net, (X,))
        for start in range(len(program.operations) + 1):
            assert torch.equal(program.replay({}, start=start), expected), start
        # and once more: a replay overwrites nothing that was kept
        assert torch.equal(program.replay({}, start=0), expected)


def test_keeping_only_what_is_live_is_enough_to_replay(net):
    with torch.no_grad():
        first = record(net, (X[:1],))
        start = len(first.operations) // 2
        program = record(net, (X,), keep=first.needs({}, start=start))
        assert program.structure() == first.structure()
        assert set(program.kept) <= first.needs({}, start=start)
        assert torch.equal(program.replay({}, start=start), net(X))


def test_replay_refuses_values_that_were_not_kept(net):
    with torch.no_grad():
        program = record(net, (X,), keep=())
        with pytest.raises(ViolationError, match="was not kept"):
            program.replay({}, start=len(program.operations) // 2)


def test_values_that_are_overwritten_later_are_kept_as_they_were():
    class Overwrites(nn.Module):
        def forward(self, x):
            y = x * 2
            view = y[:, :1]
            view.mul_(10)  # writes through to y
            return y + x

    x = torch.ones(2, 3)
    program = record(Overwrites(), (x,))
    made = program.operations[0].writes[0]
    assert torch.equal(program.kept[made], torch.full((2, 3), 2.0))
    expected = torch.tensor([[21.0, 3.0, 3.0]] * 2)
    assert torch.equal(program.result, expected)
    for start in range(len(program.operations)):
        assert torch.equal(program.replay({}, start=start), expected)


def test_a_change_shows_through_every_tensor_on_its_storage():
    class Aliases(nn.Module):
        def forward(self, x):
            y = x + 1
            flat = y.view(-1)
            y += x * 3
            return flat * 1, y * 1

    x = torch.ones(2, 2)
    program = record(Aliases(), (x,))
    write = next(op for op in program.operations if op.renames)
    start, total = write.args[0].value, write.result.value
    assert torch.equal(program.result[0], torch.full((4,), 5.0))
    for change in (Ref(start), torch.full((2, 2), 2.0)):
        flat, square = program.replay({total: change})
        assert torch.equal(flat, torch.full((4,), 2.0))
        assert torch.equal(square, torch.full((2, 2), 2.0))
    assert torch.equal(program.kept[start], torch.full((2, 2), 2.0))
    assert torch.equal(program.kept[total], torch.full((2, 2), 5.0))


def test_what_stands_in_for_a_value_survives_that_it_is_overwritten():
    class Overwrites(nn.Module):
        def forward(self, x):
            s = x + 1
            total = s + x * 3
            total.mul_(10)  # if s stands in for the total, s itself must stay
            return total + s

    program = record(Overwrites(), (torch.ones(2),))
    s, total = (op.writes[0] for op in program.operations[:3] if "add" in str(op.function))
    assert torch.equal(program.replay({total: Ref(s)}), torch.full((2,), 22.0))


def test_a_number_that_python_read_stops_a_replay_that_changes_it():
    class Guarded(nn.Module):
        def forward(self, x):
            y = x * 2
            return y * 3 if float(y.sum()) > 1 else y * 5

    program = record(Guarded(), (torch.ones(2),))
    made = program.operations[0].writes[0]
    assert torch.equal(program.replay({made: torch.tensor([2.0, 2.0])}), torch.full((2,), 6.0))
    with pytest.raises(ControlFlowChanged):
        program.replay({made: torch.zeros(2)})


def test_what_is_not_asked_for_is_not_run():
    class Sides(nn.Module):
        def forward(self, x):
            y = x * 2
            return y.relu(), y.sigmoid()

    program = record(Sides(), (torch.ones(2),))
    made = program.operations[0].writes[0]
    ran = []
    for op in program.operations:
        op.function = _noting(op.function, ran)
    program.replay({made: torch.zeros(2)}, output=program.output[0])
    assert ["relu" in str(function) for function in ran] == [True]


def _noting(function, ran):
    class Noting:
        is_view = function.is_view

        def __call__(self, *args, **kwargs):
            ran.append(function)
            return function(*args, **kwargs)

    return Noting()


def test_an_in_place_write_gives_every_alias_a_new_value():
    class Aliases(nn.Module):
        def forward(self, x):
            y = x + 1
            flat = y.view(-1)
            y.add_(1)
            return flat * 1

    program = record(Aliases(), (torch.zeros(2, 2),))
    write = next(op for op in program.operations if op.renames)
    assert len(write.renames) == 2
    last = program.operations[-1]
    assert set(last.reads) <= set(write.writes)
    assert torch.equal(program.result, torch.full((4,), 2.0))


def test_an_intervention_takes_the_place_of_a_value():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    with torch.no_grad():
        program = record(net, (x,))
        hidden = next(
            (index, op.writes[0])
            for index, op in enumerate(program.operations)
            if "relu" in str(op.function)
        )
        other = torch.randn(3, 4, dtype=torch.float64)
        replayed = program.replay({hidden[1]: other}, start=hidden[0] + 1)
        assert torch.equal(replayed, net[2](other))
        assert torch.equal(program.replay({hidden[1]: other}), net[2](other))


def test_nothing_is_left_on_the_model_also_when_its_forward_raises():
    net = post_activation()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    with pytest.raises(RuntimeError):
        record(net, (torch.zeros(1, 2, 8, 8),))
    after = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    assert hooks == after == [0] * len(hooks)


def test_a_program_is_freed_without_the_garbage_collector():
    net = post_activation().eval()
    with torch.no_grad():
        program = record(net, (X,))
        kept = [weakref.ref(tensor) for tensor in program.kept.values()]
        gc.disable()
        try:
            del program
            assert not any(reference() is not None for reference in kept)
        finally:
            gc.enable()


def test_tensors_that_are_not_kept_are_freed():
    net = post_activation().eval()
    with torch.no_grad():
        record(net, (X,))
        gc.collect()
        before = {id(o) for o in gc.get_objects() if type(o) is torch.Tensor}
        program = record(net, (X,), keep=())
        assert not program.kept
        alive = [o for o in gc.get_objects() if type(o) is torch.Tensor and id(o) not in before]
        assert all(o is program.result for o in alive)


def test_data_dependent_control_flow_is_recorded_as_it_ran():
    class Guarded(nn.Module):
        def forward(self, x):
            return x * 2 if bool(x.abs().max() > 1) else x * 3

    large, small = torch.full((1, 2), 2.0), torch.full((1, 2), 0.5)
    net = Guarded()
    assert torch.equal(record(net, (large,)).result, large * 2)
    assert torch.equal(record(net, (small,)).result, small * 3)
    factors = [record(net, (x,)).operations[-1].args[1] for x in (large, small)]
    assert factors == [2, 3]


def test_scripted_compiled_and_autocast_models_are_refused_by_name():
    net = nn.Sequential(nn.Linear(2, 2))
    x = torch.zeros(1, 2)
    with pytest.raises(InputError, match=r"torch\.compile"):
        record(torch.compile(net, backend="eager"), (x,))
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(InputError, match="autocast"):
        record(net, (x,))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates scripting; people still hand it over
        scripted = torch.jit.script(net)
    with pytest.raises(InputError, match="scripted"):
        record(scripted, (x,))


class Coupling(nn.Module):
    """Two halves that are views of one tensor, as in a reversible network."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        return torch.cat([a + self.linear(b), b], dim=1)


def test_a_change_of_one_part_of_a_split_leaves_what_was_kept_as_it_was():
    torch.manual_seed(0)
    net, x = Coupling(), torch.randn(2, 6)
    program = record(net, (x,))
    split = next(op for op in program.operations if len(op.writes) == 2)
    before = {value: tensor.clone() for value, tensor in program.kept.items()}
    new = torch.randn(2, 3)
    with torch.no_grad():
        for _ in range(2):  # the second time by the plan that the first one has settled
            found = program.replay({split.writes[1]: new})
            expected = torch.cat([x[:, :3] + net.linear(new), new], dim=1)
            assert torch.equal(found, expected)
    for value, tensor in before.items():
        assert torch.equal(program.kept[value], tensor), value
