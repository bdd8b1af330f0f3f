"""`resprobe collect --model`: weights that were not trained here, into a file or a directory."""

from __future__ import annotations

import numpy as np
import pytest

import resprobe as package

# What the preset `standard` measures.
FAMILIES = {"norms", "influence", "layer-cushion", "lesion", "jacobian"}


@pytest.fixture(scope="module")
def lone(trained, resprobe, weights_of, tmp_path_factory):
    """A lone file with both families; not to be changed."""
    out = tmp_path_factory.mktemp("lone") / "net.h5"
    result = resprobe("collect", *weights_of(trained), "-o", out, "--quiet")
    assert result.exit_code == 0, result.output
    return out


def test_a_lone_file_holds_the_families_at_its_root(lone, resprobe):
    tree = package.open(lone)
    assert set(tree.children) == FAMILIES
    assert "cifar-resnet" in tree.attrs["source"]
    assert resprobe("check", lone).exit_code == 0
    assert not list(lone.parent.glob("*.partial"))


def test_it_has_the_numbers_of_the_run_but_for_the_standardisation(lone, collected):
    """The run standardises by its subset of the training images, the model by all of them."""
    first = package.open(lone)["norms"].to_dataset()
    second = package.open(collected)["step-00000008/norms"].to_dataset()
    assert list(first["block"].values) == list(second["block"].values)
    np.testing.assert_array_equal(first["weight_norm"], second["weight_norm"])
    np.testing.assert_allclose(first["input_norm"], second["input_norm"], rtol=0.2)


def test_a_family_is_added_and_the_other_kept(trained, resprobe, weights_of, tmp_path):
    out = tmp_path / "net.h5"
    words = ["collect", *weights_of(trained), "-o", out, "--samples", 60, "--quiet"]
    assert resprobe(*words, "--quantity", "margin").exit_code == 0
    before = package.open(out)["norms"].to_dataset().load()
    result = resprobe(*words, "--quantity", "+lesion_error")
    assert result.exit_code == 0, result.stderr
    assert f"{out}: norms kept" in result.stdout
    tree = package.open(out)
    assert set(tree.children) == FAMILIES
    assert tree["norms"].to_dataset().load().identical(before)
    assert resprobe("check", out).exit_code == 0


def test_other_settings_are_refused_and_change_nothing(lone, resprobe, weights_of, trained):
    before = lone.read_bytes()
    words = ["collect", *weights_of(trained), "-o", lone, "--samples", 60, "--quiet"]
    result = resprobe(*words)
    assert result.exit_code == 2
    assert "measured with other settings" in result.stderr
    assert lone.read_bytes() == before
    assert not list(lone.parent.glob("*.partial")), "nothing half-made is left beside it"


def test_overwrite_replaces_a_family_of_a_lone_file(trained, resprobe, weights_of, tmp_path):
    out = tmp_path / "net.h5"
    words = ["collect", *weights_of(trained), "-o", out, "--quantity", "margin", "--quiet"]
    assert resprobe(*words, "--samples", 60).exit_code == 0
    assert resprobe(*words, "--samples", 30, "--overwrite").exit_code == 0
    assert package.open(out)["norms"].sizes["sample"] == 30


def test_a_foreign_file_in_the_way_is_not_touched(trained, resprobe, weights_of, tmp_path):
    out = tmp_path / "net.h5"
    out.write_bytes(b"precious")
    result = resprobe("collect", *weights_of(trained), "-o", out, "--overwrite")
    assert result.exit_code == 2
    assert out.read_bytes() == b"precious"


@pytest.fixture
def foreign(trained, resprobe, weights_of, tmp_path):
    """A run directory for a foreign model, with norms of a few samples."""
    out = tmp_path / "foreign"
    words = [*weights_of(trained), "-o", out, "--quantity", "margin", "--samples", 40]
    result = resprobe("collect", *words, "--quiet")
    assert result.exit_code == 0, result.output
    return out


def test_a_foreign_model_gets_a_run_directory_with_its_source(foreign, resprobe):
    assert (foreign / "source.toml").exists()
    assert (foreign / "checkpoints" / "step-00000000.safetensors").exists()
    assert (foreign / "collected" / "step-00000000" / "norms.h5").exists()
    result = resprobe("check", foreign)
    assert result.exit_code == 0, result.stdout


def test_every_command_takes_that_directory_as_a_run(foreign, resprobe, tmp_path):
    result = resprobe("collect", foreign, "--quantity", "+lesion_error", "--samples", 40)
    assert result.exit_code == 0, result.stderr
    result = resprobe("analyze", foreign)
    assert result.exit_code == 0, result.stderr
    assert "/step-00000000/lesion" in resprobe("inspect", foreign).stdout
    assert resprobe("export", foreign, "-o", tmp_path / "all.h5").exit_code == 0


def test_the_weights_of_the_directory_stand_alone(foreign, resprobe, trained):
    """The file that was given may go away: the run holds a copy."""
    first = package.open(foreign)["step-00000000/norms"].to_dataset().load()
    words = ["collect", foreign, "--quantity", "margin", "--samples", 40, "--overwrite"]
    assert resprobe(*words).exit_code == 0
    assert package.open(foreign)["step-00000000/norms"].to_dataset().load().equals(first)


def test_the_same_model_again_is_kept_and_another_one_refused(
    foreign, resprobe, weights_of, trained, tree_hash
):
    words = ["-o", foreign, "--quantity", "margin", "--samples", 40, "--quiet"]
    before = tree_hash(foreign)
    assert resprobe("collect", *weights_of(trained), *words).exit_code == 0
    other = weights_of(trained)
    other[other.index("depth=8")] = "depth=14"
    result = resprobe("collect", *other, *words)
    assert result.exit_code == 2
    earlier = weights_of(trained)
    place = earlier.index("--weights") + 1
    earlier[place] = min(trained.glob("checkpoints/step-????????.safetensors"))
    result = resprobe("collect", *earlier, *words)
    assert result.exit_code == 2
    assert "is not this model's run directory: weights.path, weights.sha256 differ" in result.stderr
    assert tree_hash(foreign) == before


def test_other_weights_under_the_same_name_are_refused(
    resprobe, weights_of, trained, tmp_path, tree_hash
):
    words = weights_of(trained)
    place = words.index("--weights") + 1
    copy = tmp_path / "w.safetensors"
    copy.write_bytes(words[place].read_bytes())
    words[place] = copy
    out = ["-o", tmp_path / "again", "--quantity", "margin", "--samples", 40, "--quiet"]
    assert resprobe("collect", *words, *out).exit_code == 0
    before = tree_hash(tmp_path / "again")
    first = min(trained.glob("checkpoints/step-????????.safetensors"))
    copy.write_bytes(first.read_bytes())
    result = resprobe("collect", *words, *out)
    assert result.exit_code == 2
    assert tree_hash(tmp_path / "again") == before


def test_a_torch_checkpoint_of_tensors_gives_the_same_numbers(
    lone, trained, resprobe, weights_of, tmp_path
):
    import torch
    from safetensors.torch import load_file

    words = weights_of(trained)
    place = words.index("--weights") + 1
    state = load_file(words[place])
    words[place] = tmp_path / "w.pt"
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, words[place])
    result = resprobe("collect", *words, "-o", tmp_path / "w.h5", "--quantity", "margin")
    assert result.exit_code == 0, result.stderr
    first = package.open(tmp_path / "w.h5")["norms"].to_dataset().load()
    assert first.equals(package.open(lone)["norms"].to_dataset().load())


@pytest.fixture
def small(trained, resprobe, weights_of, tmp_path):
    """A lone file of norms alone, and the words that measure the same network."""
    words = ["collect", *weights_of(trained), "-o", tmp_path / "net.h5", "--samples", 40, "--quiet"]
    result = resprobe(*words, "--quantity", "margin")
    assert result.exit_code == 0, result.output
    return words


def first_weights(words, trained):
    """The same words with the weights of the first checkpoint."""
    other = list(words)
    other[other.index("--weights") + 1] = min(trained.glob("checkpoints/step-????????.safetensors"))
    return other


def test_defaults_written_out_are_the_same_model_and_another_h_is_not(small, resprobe, tmp_path):
    words = [*small, "--quantity", "margin"]
    result = resprobe(*words, "--model-arg", "h=1")
    assert "norms kept" in result.stdout, result.stderr
    result = resprobe(*words, "--model-arg", "h=0.1")
    assert result.exit_code == 2
    assert "on another model;" in result.stderr


def test_a_lone_file_never_mixes_two_networks(small, trained, resprobe, tmp_path, tree_hash):
    other = [*first_weights(small, trained), "--quantity"]
    before = tree_hash(tmp_path)
    for quantity in ("lesion_error", "+lesion_error"):
        result = resprobe(*other, quantity)
        assert result.exit_code == 2
        assert "choose another -o" in result.stderr
    assert tree_hash(tmp_path) == before
    assert resprobe(*other, "lesion_error", "--overwrite").exit_code == 0
    assert set(package.open(tmp_path / "net.h5").children) == {"lesion"}


def test_an_interrupted_collection_of_another_network_is_not_taken_over(
    small, trained, resprobe, tmp_path
):
    (tmp_path / "net.h5.partial").mkdir()
    (tmp_path / "net.h5").rename(tmp_path / "net.h5.partial" / "norms.h5")
    other = [*first_weights(small, trained), "--quantity", "lesion_error"]
    result = resprobe(*other)
    assert result.exit_code == 2
    assert f"an interrupted collection into {tmp_path / 'net.h5'}" in result.stderr
    assert resprobe(*other, "--overwrite").exit_code == 0
    assert set(package.open(tmp_path / "net.h5").children) == {"lesion"}


def test_a_message_names_the_lone_file_and_not_its_parts(small, resprobe, tmp_path):
    result = resprobe(*small, "--quantity", "margin", "--sample-seed", 1)
    assert result.exit_code == 2
    assert f"norms in {tmp_path / 'net.h5'} was measured with other settings" in result.stderr
    assert "partial" not in result.stderr


def test_a_folder_with_a_recipe_in_it_is_no_run(small, resprobe, tmp_path):
    (tmp_path / "recipe.toml").write_text("", encoding="utf-8")
    assert resprobe(*small, "--quantity", "margin").exit_code == 0


def test_torch_weights_become_the_directory_s_own_and_other_weights_are_refused(
    trained, resprobe, weights_of, tmp_path
):
    import torch
    from safetensors.torch import load_file

    words = list(map(str, weights_of(trained)))
    place = words.index("--weights") + 1
    state = load_file(words[place])
    words[place] = str(tmp_path / "net.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, words[place])
    out = tmp_path / "foreign"
    asked = ["--quantity", "margin", "--samples", 40, "--quiet"]
    assert resprobe("collect", *words, "-o", out, *asked).exit_code == 0
    assert resprobe("check", out).exit_code == 0
    again = resprobe("collect", out, *asked)
    assert again.exit_code == 0, again.stderr
    assert "kept" in again.stdout
    state["linear.bias"] += 1
    torch.save(state, words[place])
    refused = resprobe("collect", *words, "-o", out, *asked)
    assert refused.exit_code == 2
    assert "not this model's run directory" in refused.stderr


def test_an_export_into_a_run_is_refused(trained, resprobe):
    result = resprobe("export", trained, "-o", trained / "training.h5", "--overwrite")
    assert result.exit_code == 2
    assert "lies in the run" in result.stderr
