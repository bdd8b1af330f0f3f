"""What a network that others wrote costs to search and to measure.

Run: pytest tests/benchmarks -m benchmark -s
"""

from __future__ import annotations

import pytest
import torch
from bare_loop import resnet
from timing import interleaved, line, ratio

from resprobe import find_blocks
from resprobe.blocks.intervene import Runner
from resprobe.quantities.influence import Influence
from resprobe.quantities.lesion import Lesion
from resprobe.quantities.norms import Norms

transformers = pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.filterwarnings("ignore"),
]

CLASSES = tuple("0123456789")


def resnet50():
    torch.manual_seed(0)
    config = transformers.ResNetConfig(num_labels=10)
    return transformers.ResNetForImageClassification(config).eval()


def gpt2(layers=12):
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=layers, use_cache=False, num_labels=10, pad_token_id=0)
    return transformers.GPT2ForSequenceClassification(config).eval()


def tiny_gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=16, use_cache=False
    )
    return transformers.GPT2Model(config).eval()


def images(samples, size=224):
    return torch.randn(samples, 3, size, size, generator=torch.Generator().manual_seed(0))


def tokens(samples, length=64, vocabulary=50257):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (samples, length), generator=generator)


@pytest.mark.parametrize(
    ("name", "make", "x", "rounds", "limit"),
    [
        ("ResNet-50, one image of 224x224", resnet50, images(1), 9, 3),
        ("GPT-2, 64 tokens", gpt2, tokens(1), 9, 3),
        ("toy ResNet, 9 blocks", lambda: resnet(20, 4, 3).eval(), images(1, 8), 60, 10),
        ("toy GPT-2, 4 blocks", tiny_gpt2, tokens(1, 8, 50), 60, 10),
    ],
)
def test_finding_the_blocks_takes_a_few_passes(name, make, x, rounds, limit):
    torch.set_num_threads(1)
    model = make()
    with torch.no_grad():
        times = interleaved(
            {"pass": lambda: model(x), "search": lambda: find_blocks(model, x)}, rounds=rounds
        )
    print()
    print(line(f"finding the blocks, {name}", times, "search", "pass", limit))
    assert ratio(times, "search", "pass")[1] <= limit


@pytest.mark.parametrize("family", [Norms, Influence])
def test_hook_quantities_cost_little_more_than_inference(family):
    torch.set_num_threads(1)
    model, x = resnet50(), images(8)
    labels = torch.zeros(len(x), dtype=torch.int64)
    with torch.no_grad():
        runner = Runner(model, x[:2], select=lambda out: out["logits"])
        measurement = family(model, runner.blocks, CLASSES)
        times = interleaved(
            {
                "inference": lambda: model(x),
                "measured": lambda: measurement.rows(
                    runner.run(
                        x,
                        see=measurement.see if measurement.sees_blocks else None,
                        see_output=measurement.see_output if measurement.sees_outputs else None,
                        replays=False,
                    ),
                    labels,
                ),
            },
            rounds=9,
        )
    print()
    print(line(f"{family.__name__}, ResNet-50 at 224x224", times, "measured", "inference", 1.15))
    assert ratio(times, "measured", "inference")[1] <= 1.15


def test_a_lesion_sweep_of_gpt2_takes_the_time_predicted_from_its_layers():
    """Attention and feed-forward parts of one layer are timed apart, as their lesions are."""
    torch.set_num_threads(1)
    model, x = gpt2(6), tokens(8)
    rounds = 7
    with torch.no_grad():
        runner = Runner(model, x[:2], select=lambda out: out["logits"])
        measurement = Lesion(model, runner.blocks, CLASSES)
        labels = torch.zeros(len(x), dtype=torch.int64)
        body = model.transformer
        hidden = body.wte(x) + body.wpe(torch.arange(x.shape[1]))
        parts = [part for layer in body.h for part in _halves(layer)]
        variants = {
            "whole": lambda: model(x),
            "sweep": lambda: measurement.rows(runner.run(x), labels),
            "end": lambda: model.score(body.ln_f(hidden)),
        }
        for place, part in enumerate(parts):
            variants[f"part {place}"] = lambda part=part: part(hidden)
        times = interleaved(variants, rounds=rounds, warmup=1)
    times["predicted"] = [
        times["whole"][turn]
        + sum(
            times["end"][turn] + sum(times[f"part {p}"][turn] for p in range(place + 1, len(parts)))
            for place in range(len(parts))
        )
        for turn in range(rounds)
    ]
    print()
    print(line("lesion sweep, GPT-2 of 6 layers", times, "sweep", "predicted", 1.05))
    assert ratio(times, "sweep", "predicted")[1] <= 1.05


def _halves(layer):
    return (
        lambda hidden: hidden + layer.attn(layer.ln_1(hidden))[0],
        lambda hidden: hidden + layer.mlp(layer.ln_2(hidden)),
    )
