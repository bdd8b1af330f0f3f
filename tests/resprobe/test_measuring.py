"""`resprobe.measure`: what `collect` gives of a file, of a network in memory."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import user_nets
from safetensors.torch import save_file
from torch import nn

import resprobe as package
from resprobe.analyze import describe
from resprobe.errors import InputError, UnknownNameError
from resprobe.measuring import _in_python

RANDOM = np.random.default_rng(0)
COUNT = 12
X = torch.tensor(RANDOM.normal(size=(COUNT, 4)), dtype=torch.float32)
Y = torch.arange(COUNT) % 3
ASKED = ["branch_norm"]
SEVERAL = ["branch_norm", "lesion_error"]
IDS = torch.tensor(RANDOM.integers(0, 9, (COUNT, 7)))
TOKENS = {
    "model": user_nets.Tokens(),
    "inputs": {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)},
}

# An option of a command, or the form in which it takes code; a command to run is in backticks.
OPTION = re.compile(r"(?<![\w-])--[a-z]|\s-[a-z]\b|FILE\.py")
COMMAND = re.compile(r"`resprobe [^`]*`")
# Modules whose messages `measure` can't meet: of what commands alone are given, and of trials and
# training images, which it does not take (nor a seed). What it meets in `source` is tried below.
OF_COMMANDS = (
    *("cli", "callbacks", "record*", "libraries.py", "network.py", "data_request.py"),
    *("image_folder.py", "inspect_model.py", "collect_model.py", "source.py", "reference.py"),
    *("remedies.py", "analyze.py", "checkpoints.py", "handover.py", "weights.py", "measuring.py"),
    *("quantities/trials.py", "blocks/batch_norm.py", "store/check.py", "store/reader.py"),
)


def made(kind=user_nets.Net):
    torch.manual_seed(0)
    return kind()


def measured(tmp_path, model, inputs=X, labels=Y, **options):
    """Measure into `net.h5` and give its groups, loaded."""
    options.setdefault("quantities", ASKED)
    tree = package.measure(model, inputs, labels, tmp_path / "net.h5", **options)
    return {"/": tree.attrs, **{node.path: node.to_dataset() for node in tree.leaves}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folder and the groups of a plain network's `net.h5` with two families."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, measured(folder, made(), quantities=SEVERAL)


def test_it_measures_what_collect_measures_of_the_same_network(
    plain, tmp_path, resprobe, monkeypatch
):
    shutil.copy(Path(user_nets.__file__), tmp_path / "net.py")
    save_file(made().state_dict(), tmp_path / "w.safetensors")
    np.savez(tmp_path / "d.npz", x=X.numpy(), y=Y.numpy())
    monkeypatch.chdir(tmp_path)
    asked = [word for name in SEVERAL for word in ("--quantity", name)]
    command = "collect --model net.py:Net --weights w.safetensors --data d.npz -o file.h5 --quiet"
    result = resprobe(*command.split(), *asked)
    assert result.exit_code == 0, result.output
    ours, theirs = plain[1], package.open("file.h5")
    assert set(ours) - {"/"} == {node.path for node in theirs.leaves}
    for node in theirs.leaves:
        assert ours[node.path].identical(node.to_dataset().load())
    assert ours["/"]["data_fingerprint"] == theirs.attrs["data_fingerprint"]
    assert ours["/"]["self_test"] == theirs.attrs["self_test"]
    theirs.close()


def test_the_file_is_one_for_every_command(plain, tmp_path, resprobe):
    path = plain[0] / "net.h5"
    assert resprobe("check", path).exit_code == 0
    assert "/lesion" in resprobe("inspect", path).stdout
    assert resprobe("export", path, "-o", tmp_path / "blocks.csv").exit_code == 0
    assert len(package.block_table(path)) == 2


class Two(user_nets.Net):
    """Takes two arguments by position, and a flag for each sample."""

    def forward(self, first, second, keep):
        assert keep.dtype == torch.bool
        return super().forward(first + second * keep[:, None])


def test_inputs_go_in_as_the_model_is_called(tmp_path):
    keep = torch.tensor(RANDOM.random(COUNT) < 0.5)
    whole = measured(tmp_path, made(), X + 2 * X * keep[:, None])
    apart = measured(tmp_path, made(Two), (X, 2 * X, keep), overwrite=True)
    assert apart["/norms"].identical(whole["/norms"])


def test_tokens_go_in_by_name(tmp_path):
    found = measured(tmp_path, **TOKENS)
    with torch.no_grad():
        logits = TOKENS["model"](**TOKENS["inputs"])["scores"]
    expected = (logits.argmax(1) == Y).numpy()
    np.testing.assert_array_equal(found["/norms"]["correct"].astype(bool), expected)


class Normed(user_nets.Net):
    """With dropout, running statistics and a layer that is not trained."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.stem.requires_grad_(False)

    def forward(self, x):
        return super().forward(self.drop(self.norm(x)))


def test_the_model_is_left_as_it_was(tmp_path):
    model = made(Normed).train()
    model.blocks[1].eval()
    model(X).sum().backward()
    model(X)  # the last pass leaves other running statistics than the first
    hooks = [module._forward_hooks for module in model.modules()]
    before = {
        "modes": [module.training for module in model.modules()],
        "gradients": [p.grad for p in model.parameters()],
        "numbers": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "trained": [p.requires_grad for p in model.parameters()],
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "random": torch.get_rng_state(),
    }
    measured(tmp_path, model, quantities=SEVERAL)
    assert [module.training for module in model.modules()] == before["modes"]
    for parameter, gradient, numbers in zip(
        model.parameters(), before["gradients"], before["numbers"], strict=True
    ):
        assert parameter.grad is gradient
        assert gradient is None or torch.equal(gradient, numbers)
    assert [p.requires_grad for p in model.parameters()] == before["trained"]
    assert all(torch.equal(v, before["state"][k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before["random"])
    assert not any(hooks)


def test_the_model_is_left_as_it_was_when_it_is_refused(tmp_path):
    model = made(user_nets.Features).train()
    with pytest.raises(InputError, match="expected logits"):
        measured(tmp_path, model)
    assert all(module.training for module in model.modules())
    assert list(tmp_path.iterdir()) == []


def test_before_and_after_are_two_groups_of_one_architecture(tmp_path):
    model = made()
    first = package.measure(model, X, Y, tmp_path / "before.h5", quantities=["lesion_error"])
    with torch.no_grad():
        model.blocks[0].inner.weight.mul_(0.5)
    second = package.measure(model, X, Y, tmp_path / "after.h5", quantities=["lesion_error"])
    groups = [
        describe(tmp_path / f"{name}.h5", tree, ("lesion",)).group
        for name, tree in (("before", first), ("after", second))
    ]
    assert groups[0] != groups[1]
    assert first.attrs["model"] == second.attrs["model"]
    assert first.attrs["weights_sha256"] != second.attrs["weights_sha256"]


def test_a_family_that_is_there_is_kept_and_others_are_added(plain, tmp_path):
    shutil.copy(plain[0] / "net.h5", tmp_path)
    again = measured(tmp_path, made(), quantities=SEVERAL)
    assert again["/"]["created"] == plain[1]["/"]["created"]
    more = measured(tmp_path, made(), quantities=["block_influence"])
    assert set(more) == {"/", "/norms", "/lesion", "/influence"}
    assert more["/norms"].identical(plain[1]["/norms"])


class Broken(user_nets.Net):
    """Rates nothing."""

    def forward(self, x):
        return super().forward(x) * torch.nan


class Scaled(user_nets.Net):
    """Its branches have a size that is no parameter; it notes its calls and its last input."""

    calls, last = 0, None

    def __init__(self):
        super().__init__()
        self.blocks[0].inner.h = 1.0

    def forward(self, x):
        self.calls += 1
        self.last = tuple(x.shape)
        return super().forward(x)


def test_another_network_or_data_is_refused_without_overwrite(tmp_path):
    model = made(Scaled)
    first = measured(tmp_path, model)
    model(X[:5])  # what a forward pass changes is no part of a network
    again = measured(tmp_path, model, quantities=["block_influence"])
    assert again["/norms"].identical(first["/norms"])
    with pytest.raises(InputError, match="overwrite=True"):
        measured(tmp_path, model, X + 1)
    model.blocks[0].inner.h = 0.1
    with pytest.raises(InputError, match="overwrite=True"):
        measured(tmp_path, model)
    model.blocks[0].inner.h = 1.0
    with torch.no_grad():
        model.head.bias.add_(1)
    with pytest.raises(InputError, match="overwrite=True"):
        measured(tmp_path, model)
    assert set(measured(tmp_path, model, overwrite=True)) == {"/", "/norms"}


def test_what_it_gives_is_in_memory_and_holds_no_file(tmp_path):
    path = tmp_path / "net.h5"
    with torch.no_grad():  # it takes gradients nevertheless
        tree = package.measure(made(), X, Y, path, quantities=ASKED)
    with h5py.File(path, "r+"):  # HDF5 refuses that while it is open for reading
        pass
    path.unlink()
    assert tree["norms/branch_norm"].values.shape == (COUNT, 2)


def test_samples_are_a_number_or_indices(tmp_path):
    drawn = measured(tmp_path, made(), samples=6)
    assert drawn["/norms"].sizes["sample"] == 6
    assert np.bincount(drawn["/norms"]["label"]).tolist() == [2, 2, 2]
    chosen = measured(tmp_path, made(), samples=[7, 1], overwrite=True)
    assert chosen["/norms"]["sample"].values.tolist() == [1, 7]


def test_a_network_that_is_wrapped_or_of_float64_is_measured(plain, tmp_path):
    wrapped = measured(tmp_path, nn.DataParallel(made()))
    assert wrapped["/norms"].identical(plain[1]["/norms"])
    double = measured(tmp_path, made().double(), X.double(), overwrite=True)
    assert double["/"]["dtype"] == "float64"
    np.testing.assert_allclose(
        double["/norms"]["branch_norm"], plain[1]["/norms"]["branch_norm"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": Y[:-1]}, "11 labels for inputs x of shape"),
        ({"labels": Y[0]}, "0 labels for inputs x of shape"),
        ({"labels": ["red"] * COUNT}, "labels is list that is no tensor of numbers"),
        ({"labels": Y.float()}, "expected one whole number"),
        ({"labels": Y - 1}, "classes count from 0"),
        ({"labels": Y + 1}, "the model rates 3 classes"),
        ({"inputs": X.double()}, "the model does not take float64"),
        ({"inputs": X.where(X < 1, torch.nan)}, "not finite at sample"),
        ({"inputs": [1.0, 2.0]}, "holds float, expected a tensor"),
        ({"inputs": {}}, "is empty, expected a tensor"),
        ({"inputs": X.numpy()}, r"is ndarray, expected a tensor .* torch\.from_numpy"),
        ({"inputs": {"y": X}}, "takes an argument named y"),
        ({"model": made().bfloat16()}, r"bfloat16, .* copy.deepcopy"),
        ({"model": made(user_nets.Several)}, 'output="NAME"'),
        ({"model": torch.compile(made(), backend="eager")}, "_orig_mod"),
        ({"model": nn.Linear(4, 3)}, "no residual blocks"),
        ({"samples": 13}, "13 samples asked of a set of 12"),
        ({"samples": [12]}, "samples names 12"),
        ({"samples": 1, "quantities": ["greedy_lesion"]}, "give more samples"),
        (
            {"model": made(Normed), "quantities": ["reestimated_lesion_error"]},
            "what takes them out of quantities",
        ),
        ({"model": made(Broken)}, "check its weights and the scale of the inputs"),
        ({**TOKENS, "quantities": ["input_noise_error"]}, "leave input-noise out of quantities"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(tmp_path, change, said):
    options = {"model": made(), **change}
    with pytest.raises(InputError, match=said) as caught:
        measured(tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert not OPTION.search(str(caught.value))
    assert list(tmp_path.iterdir()) == []


def texts_of(path):
    """Give each text of a module, with `some` for the values that are put in; no docstrings."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source if OPTION.search(source) else "")
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for text in whole for part in text.values}
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for text in whole:
        yield "".join(p.value if isinstance(p, ast.Constant) else "some" for p in text.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def test_no_message_that_it_can_give_names_an_option():
    root = Path(package.__file__).parent
    left = {path for name in OF_COMMANDS for path in root.glob(name)}
    texts = [
        COMMAND.sub("", text)
        for path in root.glob("**/*.py")
        if left.isdisjoint((path, *path.parents))
        for text in texts_of(path)
        if " " in text
    ]
    told = [text for text in texts if OPTION.search(text) and "--sample-seed" not in text]
    assert len(told) > 20
    assert not [text for text in told if OPTION.search(_in_python(text))]


def test_a_place_without_gradients_is_refused_where_they_are_forbidden_for_good(tmp_path):
    with torch.inference_mode(), pytest.raises(InputError, match="call it outside"):
        measured(tmp_path, made())


def test_the_model_must_be_on_one_device(tmp_path):
    model = made()
    model.head.to("meta")
    with pytest.raises(InputError, match="meta"):
        measured(tmp_path, model)


def test_names_and_the_place_of_the_file_are_checked(tmp_path):
    with pytest.raises(UnknownNameError, match="lesion_error"):
        measured(tmp_path, made(), quantities=["lesion_eror"])
    with pytest.raises(InputError, match=r"ends in \.h5"):
        package.measure(made(), X, Y, tmp_path / "net")


def test_a_family_of_the_preset_that_is_left_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("resprobe.session._LONGEST", 0.0)  # so that Jacobians take too long
    with pytest.warns(UserWarning, match="jacobian left out: one sample would take") as told:
        found = measured(tmp_path, made(), quantities=None)
    assert 'quantities=["+jacobian_' in str(told[0].message)
    assert not OPTION.search(str(told[0].message))
    assert told[0].filename == __file__
    assert "/norms" in found
    assert "/jacobian" not in found
