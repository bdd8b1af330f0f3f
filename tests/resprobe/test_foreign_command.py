"""`collect --model` and `inspect` with networks and data that are anybody's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import resprobe as package
from resprobe import checkpoints

RANDOM = np.random.default_rng(0)
Y = np.arange(12) % 3
X = RANDOM.normal(size=(12, 4)).astype(np.float32)
IDS = RANDOM.integers(0, 9, (12, 7))
MASK = (np.arange(7) < RANDOM.integers(1, 8, (12, 1))).astype(np.int64)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a user's networks and data of every kind."""
    shutil.copy(Path(__file__).with_name("user_nets.py"), tmp_path / "net.py")
    np.savez(tmp_path / "d.npz", x=X, y=Y, classes=["red", "green", "blue"])
    np.savez(tmp_path / "t.npz", input_ids=IDS, attention_mask=MASK, y=Y)
    for split, count in (("train", 4), ("test", 3)):
        for name in ("red", "green", "blue"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = RANDOM.integers(0, 256, (8, 9, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"photos/{split}/{name}/{number}.png")
    (tmp_path / "load.py").write_text(
        "import numpy as np\n"
        "def images():\n"
        "    g = np.random.default_rng(1)\n"
        "    return g.integers(0, 256, (12, 3, 5, 5)).astype(np.uint8), np.arange(12) % 3\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def norms(out):
    tree = package.open(out)
    found = tree["norms"] if "norms" in tree.children else tree["step-00000000/norms"]
    data = found.to_dataset().load()
    tree.close()
    return data


def user_net(name="Net", **arguments):
    """The same network by hand, with the weights that its factory gives here."""
    from resprobe.network import network

    return network(f"net.py:{name}", arguments).model.eval()


def margin(logits, labels):
    own = logits.gather(1, torch.as_tensor(labels)[:, None])[:, 0]
    others = logits.scatter(1, torch.as_tensor(labels)[:, None], -np.inf)
    return (own - others.amax(1)).detach().numpy()


def test_a_users_class_and_arrays_are_measured_as_by_hand(place, resprobe):
    result = resprobe("collect", "--model", "net.py:Net", "--data", "d.npz", "-o", "net.h5")
    assert result.exit_code == 0, result.stderr
    assert "no --weights: net.py:Net is measured as its factory gave it" in result.stderr
    assert "d.npz has no training split: not standardised" in result.stderr
    data, model = norms("net.h5"), user_net()
    assert list(data["block"].values) == ["blocks.0", "blocks.1"]
    assert list(data["class"].values) == ["red", "green", "blue"]
    stem = model.stem(torch.from_numpy(X))
    # the same float32 sums, perhaps in another order
    np.testing.assert_allclose(data["input_norm"][:, 0], stem.norm(dim=1).detach(), rtol=1e-5)
    np.testing.assert_allclose(
        data["margin"], margin(model(torch.from_numpy(X)), Y), rtol=1e-4, atol=1e-6
    )
    attributes = package.open("net.h5").attrs
    assert json.loads(attributes["model"])["name"] == "net.py:Net"
    assert attributes["standardised"] == "not standardised, x is passed as it is"


def test_weights_of_a_wrapped_model_go_into_a_users_class(place, resprobe):
    model = user_net()
    with torch.no_grad():
        model.head.bias += 1
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state}, "w.pt")
    words = ["collect", "--model", "net.py:Net", "--weights", "w.pt", "--data", "d.npz"]
    result = resprobe(*words, "-o", "net.h5", "--quantity", "margin", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["collected"][0]["family"] == "norms", "stdout is JSON alone"
    assert "no --weights" not in result.stderr
    np.testing.assert_allclose(
        norms("net.h5")["margin"], margin(model(torch.from_numpy(X)), Y), rtol=1e-4, atol=1e-6
    )


def test_keyword_arguments_alone_are_passed_by_name(place, resprobe):
    result = resprobe("collect", "--model", "net.py:Tokens", "--data", "t.npz", "-o", "t.h5")
    assert result.exit_code == 0, result.stderr
    model = user_net("Tokens")
    logits = model(input_ids=torch.from_numpy(IDS), attention_mask=torch.from_numpy(MASK))
    np.testing.assert_allclose(
        norms("t.h5")["margin"], margin(logits["scores"], Y), rtol=1e-4, atol=1e-6
    )


def test_a_folder_of_photos_is_standardised_by_its_training_images(place, resprobe):
    words = ["collect", "--model", "net.py:Pictures", "--data", "photos"]
    assert resprobe(*words, "-o", "p.h5", "--resize", "6").exit_code == 0
    data = norms("p.h5")
    assert list(data["class"].values) == ["blue", "green", "red"]
    assert data.sizes["sample"] == 9
    trained = np.stack([np.asarray(Image.open(p)) for p in place.glob("photos/train/*/*.png")])
    attributes = package.open("p.h5").attrs
    mean = [float(part) for part in attributes["standardisation_mean"].split()]
    np.testing.assert_allclose(mean, trained.reshape(-1, 3).mean(0) / 255, rtol=1e-12)
    assert attributes["standardised"] == "standardised by the images of train/"


def test_normalize_replaces_the_statistics(place, resprobe):
    words = ["collect", "--model", "net.py:Pictures", "--data", "load.py:images"]
    normalize = ["--normalize", "0.5,0.4,0.3", "0.25,0.2,0.1"]
    assert resprobe(*words, *normalize, "-o", "p.h5").exit_code == 0
    from resprobe.data_files import load

    pixels = load("load.py:images")[0].images / 255
    mean, std = (np.array(v)[:, None, None] for v in ([0.5, 0.4, 0.3], [0.25, 0.2, 0.1]))
    standard = torch.from_numpy((pixels - mean) / std).float()
    np.testing.assert_allclose(
        norms("p.h5")["margin"], margin(user_net("Pictures")(standard), Y), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "output"), [("Several", "1"), ("Named", None), ("Named", "logits")]
)
def test_the_logits_are_found_or_chosen(place, resprobe, name, output):
    chosen = [] if output is None else ["--output", output]
    words = ["collect", "--model", f"net.py:{name}", "--data", "d.npz", *chosen, "-o", "n.h5"]
    result = resprobe(*words)
    assert result.exit_code == 0, result.stderr
    expected = margin(user_net()(torch.from_numpy(X)), Y)
    np.testing.assert_allclose(norms("n.h5")["margin"], expected, rtol=1e-4, atol=1e-6)


def test_a_float64_network_is_measured_in_float64(place, resprobe):
    words = ["collect", "--model", "net.py:precise", "--data", "d.npz", "-o", "n"]
    assert resprobe(*words).exit_code == 0
    assert package.open("n/collected/step-00000000/norms.h5").attrs["dtype"] == "float64"
    assert "kept" in resprobe("collect", "n", "--run-code").stdout


def test_data_parallelism_is_taken_off_and_told(place, resprobe):
    result = resprobe("collect", "--model", "net.py:parallel", "--data", "d.npz", "-o", "n.h5")
    assert result.exit_code == 0, result.stderr
    assert "wrapped in DataParallel: its .module is measured" in result.stderr
    assert list(norms("n.h5")["block"].values) == ["blocks.0", "blocks.1"]


RUNS = {
    "arrays": ["net.py:Net", "d.npz", "--model-arg", "width=5"],
    "an output": ["net.py:Several", "d.npz", "--output", "1"],
    "photos": ["net.py:Pictures", "photos", "--resize", "6,5"],
    "normalised photos": ["net.py:Pictures", "photos", "--normalize", "0.5,0.5,0.5", "1,1,1"],
    "a loader": ["net.py:Pictures", "load.py:images"],
    "keyword arguments": ["net.py:Tokens", "t.npz"],
}


@pytest.mark.parametrize("what", RUNS)
def test_a_run_directory_of_any_model_is_a_run_from_anywhere(
    place, resprobe, tmp_path_factory, monkeypatch, what
):
    model, data, *more = RUNS[what]
    words = ["collect", "--model", model, "--data", data, *more, "-o", "out", "--samples", 9]
    result = resprobe(*words)
    assert result.exit_code == 0, result.stderr
    again = resprobe(*words)
    assert again.stdout.count("kept as it was") == 5, again.output
    first = norms("out")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert resprobe("check", place / "out").exit_code == 0
    kept = resprobe("collect", place / "out", "--run-code", "--samples", 9)
    assert kept.stdout.count("kept as it was") == 5, kept.output
    anew = ["--run-code", "--quantity", "margin", "--samples", 9, "--overwrite"]
    assert resprobe("collect", place / "out", *anew).exit_code == 0
    assert norms(place / "out").equals(first)


@pytest.mark.parametrize("file", ["net.py", "load.py"])
def test_a_run_whose_file_changed_is_refused_by_name(place, resprobe, tree_hash, file):
    words = ["collect", "--model", "net.py:Pictures", "--data", "load.py:images", "-o", "out"]
    assert resprobe(*words).exit_code == 0
    (place / file).write_text(
        f"open('harmed', 'w').close()\n{(place / file).read_text(encoding='utf-8')}",
        encoding="utf-8",
    )
    before = tree_hash(place / "out")
    result = resprobe("collect", "out", "--overwrite", "--run-code")
    assert result.exit_code == 2
    assert f"{file} is no longer what it was when it was measured" in result.stderr
    assert not (place / "harmed").exists()
    assert resprobe(*words).exit_code == 2
    assert tree_hash(place / "out") == before


def test_a_run_whose_data_changed_is_refused(place, resprobe):
    words = ["collect", "--model", "net.py:Net", "--data", "d.npz", "-o", "out"]
    assert resprobe(*words).exit_code == 0
    np.savez(place / "d.npz", x=X + 1, y=Y)
    result = resprobe("collect", "out", "--overwrite", "--run-code")
    assert result.exit_code == 2
    assert "d.npz are not those of the run out" in result.stderr


def test_an_estimate_of_a_users_model_writes_nothing(place, resprobe):
    before = sorted(place.rglob("*"))
    words = ["collect", "--model", "net.py:Net", "--data", "d.npz", "--estimate"]
    result = resprobe(*words)
    assert "norms: 12 samples, about" in result.stdout
    assert sorted(place.rglob("*")) == before


GPT2 = ["transformers:GPT2ForSequenceClassification"]


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory):
    """A tiny GPT-2 classifier as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=8, n_head=2, vocab_size=9, n_positions=16, num_labels=3,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("gpt2")
    transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_transformers_folder_is_measured_and_its_run_is_a_run(place, resprobe, gpt2_folder):
    words = ["collect", "--model", *GPT2, "--weights", gpt2_folder, "--data", "t.npz"]
    result = resprobe(*words, "-o", "out")
    assert result.exit_code == 0, result.stderr
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2ForSequenceClassification.from_pretrained(gpt2_folder).eval()
    logits = model(torch.from_numpy(IDS), attention_mask=torch.from_numpy(MASK)).logits
    data = norms("out")
    np.testing.assert_allclose(data["margin"], margin(logits, Y), rtol=1e-3, atol=1e-5)
    assert data.sizes["block"] == 4, "attention and MLP of two layers"
    again = resprobe("collect", "out")
    assert again.stdout.count("kept as it was") == 5, again.output


def test_tied_weights_are_stored_once_and_load_again(place, resprobe):
    words = ["collect", "--model", "net.py:Shared", "--data", "d.npz", "-o", "out"]
    assert resprobe(*words).exit_code == 0
    state = checkpoints.read_tensors(Path("out/checkpoints/step-00000000.safetensors"))
    assert "blocks.0.inner.weight" in state
    assert "blocks.1.inner.weight" not in state
    again = resprobe("collect", "out", "--run-code")
    assert again.stdout.count("kept as it was") == 5, again.output


def test_a_users_model_is_inspected(place, resprobe):
    result = resprobe("inspect", "net.py:Net", "--input-shape", "4")
    assert result.exit_code == 0, result.stderr
    assert "2 residual blocks" in result.stdout
    header, first = (line.split() for line in result.stdout.splitlines()[1:3])
    assert header == ["block", "stage", "index", "skip", "activation", "scale", "input", "output"]
    assert first[:4] == ["blocks.0", "0", "0", "identity"]
    document = json.loads(resprobe("inspect", "net.py:Net", "--data", "d.npz", "--json").stdout)
    assert [row["index"] for row in document["blocks"]] == [0, 1]


def test_refused_additions_are_printed_with_their_reasons(place, resprobe):
    result = resprobe("inspect", "net.py:Refused", "--input-shape", "4")
    assert "0 residual blocks" in result.stdout
    assert result.stdout.count("no block: ") == 2


def test_a_model_of_tokens_is_inspected_without_a_word(place, resprobe, gpt2_folder):
    arguments = ["--model-arg", f"config={gpt2_folder}"]
    result = resprobe("inspect", *GPT2, *arguments)
    assert result.exit_code == 0, result.stderr
    assert "4 residual blocks" in result.stdout
    assert "16×8" in result.stdout
    result = resprobe("inspect", *GPT2, "--weights", gpt2_folder, "--data", "t.npz")
    assert "7×8" in result.stdout, result.stderr
    words = ["--input-shape", "5", "--input-dtype", "int64"]
    assert "5×8" in resprobe("inspect", *GPT2, *arguments, *words).stdout


def test_an_encoder_with_a_decoder_is_inspected_without_a_word(place, resprobe):
    pytest.importorskip("transformers")
    keys = ("d_model=8", "d_ff=8", "d_kv=4", "num_heads=2", "num_layers=1", "vocab_size=9")
    words = [word for key in keys for word in ("--model-arg", key)]
    result = resprobe("inspect", "transformers:T5ForConditionalGeneration", *words)
    assert result.exit_code == 0, result.stderr
    assert "5 residual blocks" in result.stdout, (
        "two of the encoder's layer, three of the decoder's"
    )


def test_weights_are_loaded_before_inspecting(place, resprobe):
    save_file(user_net(width=5).state_dict(), "w.safetensors")
    words = ["inspect", "net.py:Net", "--weights", "w.safetensors", "--input-shape", "4"]
    assert resprobe(*words, "--model-arg", "width=5").exit_code == 0
    result = resprobe(*words)
    assert result.exit_code == 2
    assert "does not fit the model: shape of" in result.stderr


INSIDE_OUT = """
import torch
from torch import nn

class TokensFirst(nn.Module):
    def __init__(self, folded=False):
        super().__init__()
        self.folded, self.layer, self.head = folded, nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        n = len(x)
        x = x.flatten(0, 1) if self.folded else x.transpose(0, 1)
        x = x + self.layer(x).tanh()
        return self.head(x.view(n, -1, 4).mean(1) if self.folded else x.mean(0))
"""


def test_inspect_shows_shapes_of_one_sample_wherever_samples_lie(tmp_path, resprobe):
    path = tmp_path / "inside.py"
    path.write_text(INSIDE_OUT, encoding="utf-8")
    words = ["inspect", f"{path}:TokensFirst", "--input-shape", "5,4"]
    shown = resprobe(*words)
    assert shown.exit_code == 0, shown.stderr
    assert "5×4" in shown.stdout
    folded = resprobe(*words, "--model-arg", "folded=true")
    assert folded.exit_code == 0
    assert "it can't be collected: the features of block model have shape (15, 4)" in folded.output


MANY = """
import torch
from torch import nn

class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x).tanh()
            x = x + torch.ones(4)
        return x
"""


def test_additions_that_were_refused_for_one_reason_are_told_in_one_line(tmp_path, resprobe):
    path = tmp_path / "many.py"
    path.write_text(MANY, encoding="utf-8")
    words = ["inspect", f"{path}:Biased", "--input-shape", "4"]
    (line,) = (line for line in resprobe(*words).stdout.splitlines() if "no block: " in line)
    assert line.count("(operation ") == 3
    assert " and 2 more: operands of different shapes" in line
    assert len(json.loads(resprobe(*words, "--json").stdout)["refused"]) == 5
