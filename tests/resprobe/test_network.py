"""Networks by name: of libraries and of a user's own code."""

from __future__ import annotations

import json
import sys
import types

import pytest
import torch
from torch import nn

from resprobe import network as networks
from resprobe.errors import InputError, UnknownNameError
from resprobe.network import network, network_again

NET = """
import functools
from dataclasses import dataclass
from os import system
from textwrap import dedent
from torch import nn
from beside import WIDTH

print("a user's file may print")

class Net(nn.Module):
    def __init__(self, width: int = WIDTH, bias: bool = True, scale: float = 1.0, norm=nn.Identity):
        super().__init__()
        self.linear = nn.Linear(width, 2, bias=bias)

def make(depth, **rest):
    assert depth < 9, "too deep for me\\nand more"
    return nn.Sequential(*[nn.Linear(2, 2) for _ in range(depth)])

def pair():
    return nn.Linear(2, 2), 3

def leave():
    raise SystemExit(3)

narrow = functools.partial(Net, width=2)
cached = functools.cache(make)
Passed = nn.Identity
run = functools.partial(system, "touch harmed")

ready = nn.Linear(4, 4)
wrapped = nn.DataParallel(ready)
number = 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a user's file, a module beside it, and a package."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    (tmp_path / "beside.py").write_text("WIDTH = 5\n", encoding="utf-8")
    (tmp_path / "ownpackage").mkdir()
    (tmp_path / "ownpackage" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "ownpackage" / "nets.py").write_text(NET, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("ownpackage", "beside", "resprobe_user_file")):
            del sys.modules[name]


def spec_of(*arguments):
    return json.loads(network(*arguments).spec)


@pytest.mark.parametrize("place", ["net.py", "ownpackage.nets"])
def test_a_class_a_factory_and_a_network_of_a_users_code_are_taken(folder, place, capsys):
    assert network(f"{place}:Net", {}).model.linear.in_features == 5
    assert network(f"{place}:Net", {"width": 3}).model.linear.in_features == 3
    assert len(network(f"{place}:make", {"depth": 2, "anything": 1}).model) == 2
    assert network(f"{place}:ready", {}).model.in_features == 4
    assert network(f"{place}:narrow", {}).model.linear.in_features == 2
    assert len(network(f"{place}:cached", {"depth": 1}).model) == 1
    assert isinstance(network(f"{place}:Passed", {}).model, nn.Identity)
    printed = capsys.readouterr()
    assert printed.out == "", "stdout belongs to the command"
    assert "a user's file may print" in printed.err
    assert str(folder) not in sys.path


def test_the_file_may_lie_anywhere_and_is_the_same_model_there(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for name in ("net.py", "beside.py"):
        (other / name).write_bytes((folder / name).read_bytes())
    assert network(f"{other}/net.py:Net", {}).spec == network("net.py:Net", {}).spec


def test_the_spec_says_the_file_and_all_arguments_with_their_defaults(folder):
    spec = spec_of("net.py:Net", {"width": 3})
    assert spec["name"] == "net.py:Net"
    assert spec["arguments"] == {"width": 3, "bias": True, "scale": 1.0}
    assert spec == spec_of("net.py:Net", {"width": 3, "bias": True, "scale": 1})
    (folder / "net.py").write_text(NET + "\n# changed\n", encoding="utf-8")
    assert spec != spec_of("net.py:Net", {"width": 3})


def test_making_a_network_draws_the_same_weights_and_leaves_the_random_state(folder):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second = network("net.py:Net", {}).model, network("net.py:Net", {}).model
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.linear.weight, second.linear.weight)


def test_a_file_leaves_nothing_beside_it_and_is_never_run_as_it_was_before(folder):
    """Python's own cache goes by the second and the size."""
    (folder / "small.py").write_text(
        "from torch import nn\nnet = nn.Linear(1, 1)", encoding="utf-8"
    )
    assert network("small.py:net", {}).model.in_features == 1
    (folder / "small.py").write_text(
        "from torch import nn\nnet = nn.Linear(2, 2)", encoding="utf-8"
    )
    assert network("small.py:net", {}).model.in_features == 2
    assert not (folder / "__pycache__").exists()


def test_a_wrapped_network_is_taken_out_and_that_is_said(folder):
    made = network("net.py:wrapped", {})
    assert isinstance(made.model, nn.Linear)
    assert "DataParallel" in made.notes[0]


def test_it_is_made_again_from_its_table_from_any_directory(folder, tmp_path_factory, monkeypatch):
    first = network("net.py:make", {"depth": 3})
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    again = network_again(first.table)
    assert again.spec == first.spec
    assert len(again.model) == 3


@pytest.mark.parametrize("place", ["net.py", "ownpackage.nets"])
def test_a_file_that_changed_is_refused_by_name_and_not_run(folder, place):
    table = network(f"{place}:make", {"depth": 3}).table
    file = folder / "net.py" if place == "net.py" else folder / "ownpackage" / "nets.py"
    file.write_text("raise RuntimeError('ran')", encoding="utf-8")
    with pytest.raises(InputError, match=f"{place} is no longer what it was when it was measured"):
        network_again(table)


BAD = {
    "no file": ("gone.py:make", {}, "gone.py does not exist"),
    "no name": ("net.py", {}, "say what makes the network, as net.py:FACTORY"),
    "no such name": ("net.py:mak", {}, "did you mean make"),
    "no such module": ("ownpackage.net:make", {}, "no module ownpackage.net can be imported"),
    "no such package": ("no_such_package.net:make", {}, "no module no_such_package.net"),
    "no such form": ("resnet50", {}, "timm:NAME"),
    "a number": ("net.py:number", {}, "is int, expected a factory"),
    "a class of other things": ("subprocess:Popen", {"args": "true"}, "is the class Popen, expe"),
    "a built-in function": ("os:system", {"command": "touch harmed"}, "os:system is built into"),
    "a built-in of its own": ("posix:system", {"command": "touch harmed"}, "is built into posix"),
    "a built-in passed on": ("net.py:system", {"command": "touch harmed"}, "is built into posix"),
    "a built-in in a partial": ("net.py:run", {}, "is built into posix"),
    "a function of elsewhere": (
        "ownpackage.nets:dedent",
        {"text": "a"},
        "is code of textwrap, which is not called through ownpackage.nets",
    ),
    "a tuple": ("net.py:pair", {}, "gave tuple, expected a torch.nn.Module"),
    "a factory that raises": ("net.py:make", {"depth": 9}, "(AssertionError: too deep for me)"),
    "a factory that lacks an argument": ("net.py:make", {}, "TypeError"),
    "a factory that leaves": ("net.py:leave", {}, "ended the program (exit 3)"),
    "an unknown argument": ("net.py:Net", {"widht": 3}, "did you mean width"),
    "an argument of another type": ("net.py:Net", {"bias": 3}, "expected true or false"),
    "arguments of a network": ("net.py:ready", {"a": 1}, "takes no --model-arg"),
    "a broken import": ("broken.py:make", {}, "ModuleNotFoundError: No module named 'no_such_"),
    "a broken file": ("syntax.py:make", {}, "importing syntax.py failed (SyntaxError"),
    "a script": ("script.py:make", {}, 'under `if __name__ == "__main__":`'),
    "a broken module": ("ownpackage.broken:make", {}, "No module named 'no_such_library'"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_code_is_refused_in_one_sentence(folder, what):
    (folder / "broken.py").write_text("import no_such_library\n", encoding="utf-8")
    (folder / "ownpackage" / "broken.py").write_text("import no_such_library\n", encoding="utf-8")
    (folder / "syntax.py").write_text("def make(:\n", encoding="utf-8")
    (folder / "script.py").write_text("import sys; sys.exit(1)\n", encoding="utf-8")
    name, arguments, expected = BAD[what]
    with pytest.raises(InputError) as raised:
        network(name, arguments)
    assert expected in str(raised.value)
    assert str(folder) not in sys.path
    assert not (folder / "harmed").exists()


@pytest.fixture
def timm(monkeypatch):
    """A stand-in with timm's interface, which notes what it was asked."""
    module = types.ModuleType("timm")
    module.asked = []

    def create_model(name, pretrained, num_classes=1000):
        module.asked.append((name, pretrained))
        if num_classes < 1:
            raise RuntimeError("no classes\nat all")
        return nn.Linear(2, num_classes)

    module.create_model = create_model
    module.list_models = lambda: ["resnet18", "resnet50"]
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in with torchvision's interface, of a model with and one without a backbone."""
    package, module = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")

    def fcn(*, weights=None, weights_backbone="fetch"):
        return nn.Linear(2, 1 + bool(weights_backbone))

    builders = {
        "resnet18": lambda *, weights=None, num_classes=9: nn.Linear(2, num_classes),
        "fcn": fcn,
    }
    module.list_models = lambda: list(builders)
    module.get_model_builder = builders.__getitem__
    module.get_model = lambda name, **arguments: builders[name](**arguments)
    package.models = module
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", module)


def test_a_model_of_timm_is_made_without_its_weights(timm):
    made = network("timm:resnet18", {"num_classes": 3})
    assert made.model.out_features == 3
    assert timm.asked == [("resnet18", False)]
    network("timm:resnet18.a1_in1k", {})
    assert timm.asked[-1] == ("resnet18.a1_in1k", False), "with the tag of its weights"
    assert json.loads(made.spec) == {"name": "timm:resnet18", "arguments": {"num_classes": 3}}
    assert network_again(made.table).spec == made.spec


def test_a_model_of_torchvision_is_made_without_its_weights(torchvision):
    assert network("torchvision:resnet18", {}).model.out_features == 9
    assert network("torchvision:fcn", {}).model.out_features == 1, "nor those of its backbone"


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("timm:resnet19", {}, "timm has no model 'resnet19': did you mean resnet18"),
        ("timm:hf_hub:somebody/net", {}, "timm has no model 'hf_hub:somebody/net'"),
        ("timm:resnet18", {"pretrained": True}, "nothing is downloaded"),
        ("timm:resnet18", {"num_classes": 0}, "(RuntimeError: no classes)"),
        ("torchvision:resnet19", {}, "did you mean resnet18"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "give it with --weights"),
    ],
)
def test_a_model_that_a_library_does_not_make_is_refused(
    timm, torchvision, name, arguments, expected
):
    with pytest.raises(InputError) as raised:
        network(name, arguments)
    assert expected in str(raised.value)


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_a_library_that_is_absent_is_named_with_the_way_to_get_it(monkeypatch, library):
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(InputError, match=f"pip install {library}"):
        network(f"{library}:Anything", {"a": 1})


def test_a_library_that_is_broken_is_quoted(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(InputError, match="nms does not exist"):
        network("timm:resnet18", {})


GPT2 = "transformers:GPT2ForSequenceClassification"
SMALL = {"n_layer": 2, "hidden_size": 8, "n_head": 2, "vocab_size": 11, "n_positions": 16}
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


@pytest.fixture(scope="module")
def config_folder(tmp_path_factory):
    """A folder with the configuration of a tiny GPT-2 of three classes."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("gpt2")
    transformers.GPT2Config(**SMALL, **IDS, num_labels=3).save_pretrained(folder)
    return folder


def test_a_class_of_transformers_is_made_of_keys_and_does_not_cache(config_folder):
    made = network(GPT2, {**SMALL, **IDS, "num_labels": 4})
    assert made.model.score.out_features == 4
    assert made.model.config.n_embd == 8
    assert made.model.config.use_cache is False
    assert network_again(made.table).spec == made.spec


@pytest.mark.parametrize("name", [GPT2, "transformers:AutoModelForSequenceClassification"])
@pytest.mark.parametrize("inside", ["", "config.json"])
def test_a_class_of_transformers_is_made_of_a_configuration(config_folder, name, inside):
    made = network(name, {"config": str(config_folder / inside)})
    assert type(made.model).__name__ == "GPT2ForSequenceClassification"
    assert made.model.score.out_features == 3
    assert network_again(made.table).spec == made.spec


def test_keys_replace_those_of_the_configuration_under_either_name(config_folder):
    made = network(GPT2, {"config": str(config_folder), "hidden_size": 4, "num_labels": 5})
    assert made.model.score.weight.shape == (5, 4)


def test_the_folder_of_the_weights_brings_its_configuration(config_folder):
    assert network(GPT2, {}, config_folder).model.score.out_features == 3


TRANSFORMERS_BAD = {
    "no configuration": (GPT2, {}, "needs a configuration: give --model-arg config=FOLDER"),
    "no such class": ("transformers:GPT2ForSequence", SMALL, "GPT2ForSequenceClassification"),
    "no model": ("transformers:GPT2Config", SMALL, "has no model class 'GPT2Config'"),
    "an unknown key": (GPT2, {"n_layr": 2}, "did you mean n_layer"),
    "a value of another type": (GPT2, {"n_layer": "two"}, "can't be configured with"),
    "a value that does not fit": (GPT2, {**SMALL, "n_head": 3}, "can't be made of this"),
    "no folder": (GPT2, {"config": "gone"}, "gone can't be read as a configuration"),
    "no type": ("transformers:AutoModel", {"n_layer": 2}, "--model-arg model_type=gpt2"),
    "an unknown type": ("transformers:AutoModel", {"model_type": "gpt-2"}, "did you mean gpt2"),
}


@pytest.mark.parametrize("what", TRANSFORMERS_BAD)
def test_a_bad_configuration_is_refused_in_one_sentence(config_folder, what):
    name, arguments, expected = TRANSFORMERS_BAD[what]
    with pytest.raises(InputError) as raised:
        network(name, arguments)
    assert expected in str(raised.value)


def test_a_configuration_that_is_no_json_is_refused(config_folder, tmp_path):
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"config\.json"):
            network(GPT2, {"config": str(tmp_path)})


def test_nothing_is_fetched_for_a_part_of_a_configuration(config_folder, monkeypatch):
    """A factory inside transformers sees the hub switched off."""
    from huggingface_hub import constants

    seen = []
    whole = networks.make_transformers

    def look(name, config):
        import transformers

        make = transformers.GPT2ForSequenceClassification.__init__

        def note(self, own):
            seen.append(constants.HF_HUB_OFFLINE)
            make(self, own)

        with monkeypatch.context() as patch:
            patch.setattr(transformers.GPT2ForSequenceClassification, "__init__", note)
            return whole(name, config)

    monkeypatch.setattr(networks, "make_transformers", look)
    before = constants.HF_HUB_OFFLINE
    network(GPT2, {"config": str(config_folder)})
    assert seen == [True]
    assert before == constants.HF_HUB_OFFLINE


def test_an_unknown_registered_name_lists_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean cifar-resnet"):
        network("cifar-resnets", {})
