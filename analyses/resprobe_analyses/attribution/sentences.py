"""The findings in plain sentences, made from the intervals and tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.attribution.effects import GroupEffect, predictors_of
from resprobe_analyses.attribution.networks import Network
from resprobe_analyses.attribution.sentences_costs import absent_line, choice_lines, pass_lines
from resprobe_analyses.attribution.standing import ERROR, KIND, LOSS, STAGE, Standing
from resprobe_analyses.difference import Difference, difference_lines
from resprobe_analyses.statistics import MINIMUM_SEEDS

MOST_LINES = 12
MOST_NAMED = 3  # predictors that are told with their interval
RELIABLE = 0.5  # agreement of the lesion with itself from which 95 % intervals hold 88 % and more
NOISY = 0.95  # below which agreement of a predictor with itself is worth a word

Labels = Mapping[str, str]


def summary(groups: Sequence[GroupEffect], compared: Sequence[Difference]) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        groups: effects by group.
        compared: differences of groups by block.

    Returns:
        At most 12 lines, the last on what was not measured. Square brackets hold 95 % intervals,
        and each sentence says what they are over.
    """
    labels = {name: one.label for name, one in predictors_of(groups).items()}
    able = [group for group in groups if group.used]
    lines = [line for group in groups for line in _uninterpretable(group)]
    for told in (_rankings, _trust):
        lines += [line for group in able for line in told(group, labels)]
    lines += difference_lines(compared)
    for told in (choice_lines, _reliability, _kinds, _loss):
        lines += [line for group in able for line in told(group, labels)]
    lines += pass_lines(able, labels)
    if len(lines) >= MOST_LINES:
        kept = MOST_LINES - 2
        rest = len(lines) - kept
        lines = [*lines[:kept], f"{rest} further findings are in verdict.json and dataset.nc."]
    return "\n".join([*lines, absent_line(groups, labels)])


def _uninterpretable(group: GroupEffect) -> list[str]:
    return [
        f"{m.network.label} is uninterpretable: its test error "
        f"{wording.interval(m.lesion.test_error, m.network.images.size)} over "
        f"{wording.counted_images(m.network.images.size)} is worse than half of chance "
        f"({m.lesion.chance_error:.3f} / 2); nothing is said about what ranks its blocks."
        for m in group.members
        if not m.interpretable
    ]


def _rankings(group: GroupEffect, labels: Labels) -> list[str]:
    one = group.standings[ERROR, STAGE]
    if not one.ordered:
        return [
            f"{group.group.label}: nothing to rank: in no stage do two blocks of one shape differ "
            "both in a predictor and in the error increase by their lesion."
        ]
    start = (
        f"{group.group.label}: rank correlation of predictors with the error increase by the "
        f"lesion, over {one.blocks} blocks within {_stages(one.strata)}"
    )
    return [f"{start}: {_correlated(one, labels)}; {_scope(group, one, labels)}."]


def _correlated(one: Standing, labels: Labels) -> str:
    """Tell the best predictors with their intervals, and where the others lie."""
    told = [
        f"{labels[one.names[place]]} {_number(one, place)}" for place in one.ordered[:MOST_NAMED]
    ]
    rest = [
        f"{labels[one.names[place]]} {wording.signed_number(float(one.value[place]))}"
        for place in one.ordered[MOST_NAMED:]
    ]
    return ", ".join([*told, *rest])


def _number(one: Standing, place: int) -> str:
    """Write a correlation with its interval; of too few blocks with that over blocks first."""
    value = wording.signed_number(float(one.value[place]))
    if not np.isfinite(one.low[place]):
        return value
    over_images = wording.span(float(one.low[place]), float(one.high[place]))
    if one.decidable:
        return f"{value} {over_images}"
    blocks = one.by_blocks[place]
    if not np.isfinite(blocks.low):
        return f"{value} (over images {over_images})"
    return f"{value} (over blocks {wording.span(blocks.low, blocks.high)}, images {over_images})"


def _scope(group: GroupEffect, one: Standing, labels: Labels) -> str:
    if one.networks == 1:
        network = group.used[0].network
        first = f", of the first {MOST_NAMED}," if one.ordered[MOST_NAMED:] else ""
        return (
            f"intervals{first} over {wording.counted_images(network.images.size)}"
            f"{_on_other_images(network, one, labels)}, this network{_too_narrow(one)}"
            f"{_over_blocks(one)}"
        )
    if one.networks >= MINIMUM_SEEDS:
        return f"mean over {one.networks} seeds, intervals over seeds"
    return f"mean over these {one.networks} networks, no interval below {MINIMUM_SEEDS} seeds"


def _on_other_images(network: Network, one: Standing, labels: Labels) -> str:
    """Name those of the first predictors that were measured on fewer images, or on more."""
    by_count: dict[int, list[str]] = {}
    for place in one.ordered[:MOST_NAMED]:
        measured = network.predictor(one.names[place])
        if measured is not None and measured.images is not None:
            by_count.setdefault(measured.images.size, []).append(labels[one.names[place]])
    by_count.pop(network.images.size, None)
    told = "; ".join(f"{', '.join(names)} measured on {n:,}" for n, names in by_count.items())
    return f" ({told})" if told else ""


def _too_narrow(one: Standing) -> str:
    """Warn of intervals that hold what they should less often than they say."""
    if not one.reliability < RELIABLE:
        return ""
    return (
        ", and somewhat too narrow, for the lesion agrees with itself by no more than "
        f"{wording.signed_number(one.reliability)}"
    )


def _over_blocks(one: Standing) -> str:
    """Tell the interval of the best predictor over blocks: what other such blocks might give."""
    best = one.by_blocks[one.ordered[0]]
    if not one.decidable:  # then told beside each
        return ""
    if not np.isfinite(best.low):
        return ""
    return f"; over blocks instead of images the first has {wording.span(best.low, best.high)}"


def _trust(group: GroupEffect, labels: Labels) -> list[str]:
    """Say which predictors to trust: of the group from five seeds on, else network by network."""
    one = group.standings[ERROR, STAGE]
    if one.networks == 1 or one.networks >= MINIMUM_SEEDS:
        return _trusted(group.group.label, one, labels)
    found = [member.standings[ERROR, STAGE] for member in group.used]
    able = [each for each in found if each.ordered]
    if not able:
        return []
    undecidable = [each for each in able if not each.decidable]
    if undecidable:
        return _too_few(group.group.label, undecidable[0])
    count = len(found)
    lists = {
        "better": [name for each in able for name in _names(each, each.better_than_random)],
        "against": [name for each in able for name in _names(each, each.against)],
        "highest": [name for each in able for name in _names(each, each.ordered[:1])],
        "worse": [name for each in able for name in _names(each, each.worse)],
    }
    told = {what: _counted(names, count, labels) for what, names in lists.items()}
    against = f"; the wrong way round: {told['against']}" if lists["against"] else ""
    return [
        f"{group.group.label}: network by network (permutation of blocks and pairs over the same "
        f"images, Holm in each) better than a random ranking: {told['better']}{against}; highest: "
        f"{told['highest']}; worse than the highest: {told['worse']}."
    ]


def _names(one: Standing, places: Sequence[int]) -> list[str]:
    return [one.names[place] for place in places]


def _counted(names: Sequence[str], networks: int, labels: Labels) -> str:
    """Tell how often each name is there, the most frequent first."""
    counts = Counter(names).most_common()
    return ", ".join(f"{labels[name]} in {seen} of {networks}" for name, seen in counts) or "none"


def _trusted(label: str, one: Standing, labels: Labels) -> list[str]:
    if not one.ordered:
        return []
    count = int(np.isfinite(one.random_p).sum())
    if not one.decidable:
        return _too_few(label, one)
    better = one.better_than_random
    how = (
        f"permutation of blocks, Holm over {count} predictors"
        if one.networks == 1
        else f"t test over seeds, Holm over {count} predictors"
    )
    random = f"95 % of random rankings{'' if one.networks == 1 else ' of one network'} lie in "
    random += wording.span(*one.random)
    if not better:
        return [
            f"{label}: no predictor ranks better than at random ({how}; {random})"
            f"{_against(one, labels)}."
        ]
    others = [place for place in one.ordered if place not in better and place not in one.against]
    chance = f"; not told from a random ranking: {_named(one, others, labels)}" if others else ""
    return [
        f"{label}: better than a random ranking ({how}): {_named(one, better, labels)}{chance}"
        f"{_against(one, labels)}; {random}.",
        _best(label, one, labels),
    ]


def _too_few(label: str, one: Standing) -> list[str]:
    return [
        f"{label}: {one.blocks} blocks in {_stages(one.strata)} are too few to tell any of "
        f"{int(np.isfinite(one.random_p).sum())} predictors from a random ranking: the smallest "
        f"possible p is {one.smallest_p:.3f} before Holm; correlations only describe what was "
        "measured."
    ]


def _against(one: Standing, labels: Labels) -> str:
    if not one.against:
        return ""
    return f"; the wrong way round, and not at random: {_named(one, one.against, labels)}"


def _best(label: str, one: Standing, labels: Labels) -> str:
    pairs = int(np.isfinite(one.difference_p[np.triu_indices(len(one.names), 1)]).sum())
    paired = "the same images" if one.over == "images" else "the same seeds"
    best = labels[one.names[one.ordered[0]]]
    if not one.ordered[1:]:
        return f"{label}: {best} is the only predictor that ranks anything."
    parts = []
    if one.worse:
        parts.append(f"worse than it {_named(one, one.worse, labels)}")
    if one.not_told_apart:
        parts.append(f"not told apart from it {_named(one, one.not_told_apart, labels)}")
    return (
        f"{label}: {best} ranks highest; {'; '.join(parts)} (paired over {paired}"
        f"{f', Holm over {pairs} pairs' if pairs > 1 else ''})."
    )


def _reliability(group: GroupEffect, labels: Labels) -> list[str]:
    one = group.standings[ERROR, STAGE]
    if not one.ordered or not np.isfinite(one.reliability):
        return []
    images = wording.counted_images(group.used[0].network.images.size)
    line = (
        f"{group.group.label}: the lesion against itself: two rankings by the error increase, each "
        f"on {images}, would correlate by {wording.signed_number(one.reliability)} (halves of the "
        "images, Spearman-Brown)"
    )
    if np.isfinite(one.ceiling):
        line += (
            ", so a predictor that is right and has no noise is expected at about "
            f"{wording.signed_number(one.ceiling)}"
        )
    noisy = int(np.argmin(np.nan_to_num(one.predictor_reliability, nan=2.0)))
    if one.predictor_reliability[noisy] < NOISY:
        line += (
            f"; of the predictors {labels[one.names[noisy]]} agrees least with itself "
            f"({wording.signed_number(float(one.predictor_reliability[noisy]))})"
        )
    return [f"{line}."]


def _kinds(group: GroupEffect, labels: Labels) -> list[str]:
    one = group.standings.get((ERROR, KIND))
    if one is None or not one.ordered:
        return []
    kinds = group.used[0].network.kinds
    count = 0 if kinds is None else np.unique(kinds).size
    start = f"{group.group.label}: within stage and kind of branch ({count} kinds, told by what "
    top = [
        f"{labels[one.names[place]]} {_number(one, place)}" for place in one.ordered[:MOST_NAMED]
    ]
    better = "none" if not one.better_than_random else _named(one, one.better_than_random, labels)
    tested = f"better than at random: {better}" if one.decidable else "too few for a test"
    if 1 < one.networks < MINIMUM_SEEDS:
        tested = "no test below five seeds"
    return [
        f"{start}was recorded of their parameters) {', '.join(top)} rank highest over "
        f"{one.blocks} blocks; {tested}."
    ]


def _loss(group: GroupEffect, labels: Labels) -> list[str]:
    one = group.standings[LOSS, STAGE]
    if not one.ordered:
        return []
    top = [
        f"{labels[one.names[place]]} {_number(one, place)}" for place in one.ordered[:MOST_NAMED]
    ]
    return [
        f"{group.group.label}: with the increase of the test loss instead correlate most "
        f"{', '.join(top)}; the lesion against itself there "
        f"{wording.signed_number(one.reliability)}."
    ]


def _named(one: Standing, places: Sequence[int], labels: Labels) -> str:
    return ", ".join(labels[one.names[place]] for place in places)


def _stages(count: int) -> str:
    return f"{count} stage{'' if count == 1 else 's'}"
