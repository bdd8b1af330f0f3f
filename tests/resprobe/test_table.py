"""The table of blocks: every number that was measured of a block, or the reason why not."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers

import resprobe as package
from resprobe.errors import InputError

BLOCKS = ["a.0", "a.1", "b.0"]
STRUCTURE = ["index", "stage", "index_in_stage", "skip", "transition"]
NAN = float("nan")


def group(variables, **further):
    """Give a dataset of three blocks as a file holds it."""
    places = {
        "block": BLOCKS,
        "index": ("block", [0, 1, 2]),
        "stage": ("block", [0, 0, 1]),
        "index_in_stage": ("block", [0, 1, 0]),
        "skip": ("block", ["identity", "identity", "projection"]),
        "transition": ("block", np.array([0, 0, 1], np.int8)),
    }
    return xr.Dataset(variables, {**places, **further})


def tree_of(**groups):
    return xr.DataTree.from_dict({f"/{name.replace('__', '/')}": g for name, g in groups.items()})


def table_of(variables, **further):
    return package.block_table(tree_of(family=group(variables, **further)))


def test_means_and_errors_of_a_run_are_those_of_pandas(collected):
    table, tree = package.block_table(collected), package.open(collected)
    assert table.index.tolist() == tree["step-00000008/norms/block"].values.tolist()
    assert table.attrs["step"] == 8
    compared = 0
    for family in tree["step-00000008"].children.values():
        for name, variable in family.to_dataset().data_vars.items():
            if set(variable.dims) != {"sample", "block"}:
                continue
            frame = variable.astype(np.float64).to_dataframe()[name].groupby("block")
            expected = frame.agg(["mean", "sem"]).loc[table.index]
            np.testing.assert_allclose(table[name], expected["mean"], rtol=1e-12)
            np.testing.assert_allclose(table[f"{name}_stderr"], expected["sem"], rtol=1e-9)
            assert table.attrs["columns"][name]["samples"] == 600 - 100
            compared += 1
    assert compared >= 7  # five norms, influence, correctness and loss of lesions


def test_every_number_of_a_block_is_a_column_or_has_a_reason(collected):
    table, tree = package.block_table(collected), package.open(collected)
    for family in tree["step-00000008"].children.values():
        for name, variable in family.to_dataset().data_vars.items():
            assert (name in table or name in table.attrs["left_out"]) == ("block" in variable.dims)
    assert list(table)[: len(STRUCTURE)] == STRUCTURE
    assert set(table.attrs["columns"]) == set(table)
    assert all(item["long_name"] and item["units"] for item in table.attrs["columns"].values())


def test_what_is_of_the_block_alone_is_as_it_is(collected):
    table, tree = package.block_table(collected), package.open(collected)
    node = tree["step-00000008"]
    np.testing.assert_array_equal(table["lesion_error"], node["lesion/lesion_error"])
    np.testing.assert_array_equal(table["weight_norm"], node["norms/weight_norm"])
    assert "lesion_error_stderr" not in table
    assert table["transition"].tolist() == node["norms/transition"].astype(bool).values.tolist()


def test_without_anything_collected_it_is_the_last_step_of_training(trained):
    table, tree = package.block_table(trained), package.open(trained)
    last = tree["training/step"].to_dataset().isel(step=-1)
    assert table.attrs["step"] == int(last["step"])
    for name in ("branch_norm", "branch_norm_std", "gradient_norm", "weight_norm"):
        np.testing.assert_array_equal(table[name], last[name].astype(np.float64))
    assert package.block_table(trained / "training.h5").equals(table)


def test_nan_samples_are_not_counted_and_their_number_is_said():
    values = [[1.0, NAN, NAN], [3.0, 5.0, NAN], [5.0, NAN, NAN]]
    table = table_of({"size": (("sample", "block"), values)})
    np.testing.assert_array_equal(table["size"], [3.0, 5.0, NAN])
    # The deviation of 1, 3, 5 is 2; of a single sample there is no error.
    np.testing.assert_allclose(table["size_stderr"], [2 / np.sqrt(3), NAN, NAN])
    assert table["size_samples"].tolist() == [3, 1, 0]


def test_an_equal_number_of_samples_is_said_once():
    values = [[1.0, 2.0, NAN], [3.0, 5.0, NAN]]
    table = table_of({"size": (("sample", "block"), values)})
    assert "size_samples" not in table
    assert table.attrs["columns"]["size"]["samples"] == 2


def test_further_dimensions_have_a_column_for_each_level():
    values = np.arange(24.0).reshape(2, 3, 2, 2)
    table = table_of(
        {"size": (("sample", "block", "part", "draw"), values)},
        part=["branch", "block"],
        draw=[3, 7],
    )
    np.testing.assert_array_equal(table["size_branch_draw_3"], values.mean(0)[:, 0, 0])
    np.testing.assert_array_equal(table["size_block_draw_7"], values.mean(0)[:, 1, 1])
    assert "size_block_draw_7_stderr" in table


def test_a_stored_error_of_the_mean_is_named_like_its_mean():
    dims = ("block", "part")
    variables = {"size": (dims, np.ones((3, 2))), "size_stderr": (dims, np.full((3, 2), 0.1))}
    table = table_of(variables, part=["branch", "block"])
    assert {"size_branch", "size_branch_stderr", "size_block_stderr"} < set(table)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"size": (("block", "length"), np.ones((3, 9)))}, "9 length for every block"),
        ({"size": (("sample", "block"), np.ones((2, 3), complex))}, "complex128"),
        (
            {
                "way": (
                    ("sample", "block"),
                    np.ones((2, 3), np.int8),
                    {"flag_values": np.arange(3, dtype=np.int8)},
                )
            },
            "codes",
        ),
        (
            {
                "size": (("sample", "block"), np.ones((2, 3))),
                "size_stderr": (("sample", "block"), np.ones((2, 3))),
            },
            "the error of each sample's size",
        ),
    ],
)
def test_what_makes_no_column_has_a_reason(variables, reason):
    left_out = table_of(variables).attrs["left_out"]
    name = list(variables)[-1]
    assert set(left_out) == {name}
    assert reason in left_out[name]


def test_several_checkpoints_are_told_apart_by_their_step():
    first = group({"size": ("block", [1.0, 2.0, 3.0])})
    second = group({"size": ("block", [4.0, 5.0, 6.0]), "new": ("block", [7, 8, 9])})
    path = {"/step-00000010/family": second, "/step-00000002/family": first}
    table = package.block_table(xr.DataTree.from_dict(path))
    assert table.index.names == ["step", "block"]
    assert table.loc[10, "size"].tolist() == [4.0, 5.0, 6.0]
    assert table.index.get_level_values("step").unique().tolist() == [2, 10]
    assert table.loc[2, "new"].isna().all()


def test_a_file_without_blocks_is_refused():
    with pytest.raises(InputError, match="nothing was recorded of any block"):
        package.block_table(tree_of(family=xr.Dataset({"loss": ("step", [1.0])})))


@pytest.mark.parametrize("source", [3, xr.Dataset()], ids=["number", "dataset"])
def test_what_is_neither_a_path_nor_a_tree_is_refused(source):
    with pytest.raises(InputError, match=f"source is {type(source).__name__}, expected the path"):
        package.block_table(source)


@given(
    values=numbers.arrays(
        np.float64, st.tuples(st.integers(2, 6), st.just(3)), elements=st.floats(-1e6, 1e6)
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_the_order_of_samples_and_their_doubling_change_no_mean(values, seed):
    order = np.random.default_rng(seed).permutation(len(values))
    plain, mixed, doubled = (
        table_of({"size": (("sample", "block"), part)})
        for part in (values, values[order], np.concatenate([values, values]))
    )
    # Rounding of a sum of at most 12 terms of at most 1e6.
    close = {"rtol": 1e-9, "atol": 1e-7}
    np.testing.assert_allclose(mixed["size"], plain["size"], **close)
    np.testing.assert_allclose(doubled["size"], plain["size"], **close)
    count = len(values)
    factor = np.sqrt((count - 1) / (2 * count - 1))
    np.testing.assert_allclose(doubled["size_stderr"], factor * plain["size_stderr"], **close)


def test_csv_reads_back_to_the_same_numbers(collected, resprobe, tmp_path):
    out = tmp_path / "blocks.csv"
    result = resprobe("export", collected, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    table, told = package.block_table(collected).reset_index(), json.loads(result.stdout)
    read = pd.read_csv(out)
    assert list(read) == list(table) == told["columns"]
    assert told["rows"] == len(read)
    assert told["left_out"] == {}
    # Some versions of pandas read decimals one unit in the last place off, Python never does.
    with out.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for name, values in read.items():
        texts = [row[name] for row in rows]
        if values.dtype.kind in "if":
            np.testing.assert_allclose(values, table[name], rtol=1e-14)
            np.testing.assert_array_equal([float(text or "nan") for text in texts], table[name])
        else:
            assert texts == list(map(str, table[name]))
    # Influence is none of a transition, whose x and output differ in shape.
    assert [row["block_influence"] == "" for row in rows] == table["transition"].tolist()


def test_csv_of_checkpoints_begins_with_their_steps(resprobe, tmp_path):
    from resprobe.store.export import write_table

    path = {f"/step-0000000{n}/f": group({"size": ("block", [1.0, n, NAN])}) for n in (1, 2)}
    write_table(package.block_table(xr.DataTree.from_dict(path)), tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "step,block,index,stage,index_in_stage,skip,transition,size"
    assert lines[-1] == "2,b.0,2,1,0,projection,True,"


def test_another_ending_is_refused_with_both(collected, resprobe, tmp_path):
    result = resprobe("export", collected, "-o", tmp_path / "blocks.txt")
    assert result.exit_code == 2
    assert ".h5" in result.stderr
    assert ".csv" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_csv_that_is_there_is_replaced_only_on_request(collected, resprobe, tmp_path):
    out = tmp_path / "blocks.csv"
    out.write_text("precious", encoding="utf-8")
    assert resprobe("export", collected, "-o", out).exit_code == 2
    assert out.read_text(encoding="utf-8") == "precious"
    result = resprobe("export", collected, "-o", out, "--overwrite")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"next: resprobe analyze {collected}"
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.csv"]
