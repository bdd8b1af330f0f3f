"""Which part of a model's output are the logits."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch

from resprobe.blocks.structure import Ref
from resprobe.errors import InputError
from resprobe.quantities.outputs import refuse_no_logits, select_logits

Pair = namedtuple("Pair", "logits features")


@dataclass
class Record:
    logits: object
    hidden: object = None


A, B = torch.zeros(2, 3), torch.ones(2, 4)

CASES = {
    "a tensor": (A, None, A),
    "a dictionary with logits": ({"features": B, "logits": A}, None, A),
    "a dataclass with logits": (Record(A, B), None, A),
    "a named tuple with logits": (Pair(A, B), None, A),
    "logits inside logits": ({"logits": {"logits": A, "aux": B}}, None, A),
    "the only tensor": ((None, {"head": [A]}, "text"), None, A),
    "a key": ({"features": B, "logits": A}, "features", B),
    "a key that is a number": ({0: A, 1: B}, "1", B),
    "an index": ((A, B), "1", B),
    "a field": (Record(A, B), "hidden", B),
    "a nested part": ({"heads": (A, B)}, "heads.1", B),
    "a part with logits": ({"first": Record(A), "second": Record(B)}, "second", B),
}


def with_refs(structure):
    """The same structure as a recording has it."""
    if isinstance(structure, torch.Tensor):
        return Ref(0 if structure is A else 1)
    if isinstance(structure, Record):
        return Record(with_refs(structure.logits), with_refs(structure.hidden))
    if isinstance(structure, dict):
        return OrderedDict((key, with_refs(part)) for key, part in structure.items())
    if isinstance(structure, Pair):
        return Pair(*map(with_refs, structure))
    if isinstance(structure, tuple | list):
        return type(structure)(map(with_refs, structure))
    return structure


@pytest.mark.parametrize("what", CASES)
def test_the_logits_are_found_in_tensors_and_in_their_recorded_places(what):
    output, name, expected = CASES[what]
    assert select_logits(output, name) is expected
    assert select_logits(with_refs(output), name) == Ref(0 if expected is A else 1)


BAD = {
    "two tensors": ((A, B), None, "is not clear; it holds 0, 1: say which with --output NAME"),
    "two nested tensors": ({"a": {"b": A}, "c": B}, None, "it holds a.b, c"),
    "two below the name": ({"a": (A, B), "c": B}, "a", "output a holds the logits is not clear"),
    "no such part": ({"a": A, "c": B}, "logit", "no part 'logit'; it holds a, c"),
    "no such index": ((A, B), "2", "no part '2'"),
    "a part of a tensor": (A, "0", "no part '0'"),
    "no tensor": ({"a": 3}, None, "holds no tensor"),
    "nothing": (None, None, "it is NoneType and holds no tensor"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_clear_is_refused_with_all_there_is(what):
    output, name, expected = BAD[what]
    with pytest.raises(InputError) as raised:
        select_logits(output, name)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        (torch.zeros(4, 3, 8, 8), r"float32 of shape \(4, 3, 8, 8\) for 4 samples"),
        (torch.zeros(1, 3), r"shape \(1, 3\) for 4 samples"),
        (torch.zeros(4), r"expected logits as floats \(sample, class\)"),
        (torch.zeros(4, 3, dtype=torch.int64), "int64 of shape"),
        (torch.zeros(4, 2), "rates 2 classes, but the labels go up to 2"),
    ],
)
def test_an_output_that_rates_no_classes_is_refused(logits, expected):
    with pytest.raises(InputError, match=expected):
        refuse_no_logits(logits, 4, 3)


def test_more_classes_than_labels_are_fine():
    refuse_no_logits(torch.zeros(4, 1000), 4, 3)
