"""The spread of contrasts over the pilots' seeds, and what the script refuses."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from resprobe_analyses.reproduce.pilot import contrasts, main, spreads
from resprobe_analyses.studies.evidence import Evidence, Sample

from resprobe import registry


def test_spread_is_the_standard_deviation_over_the_seeds_that_have_a_value():
    study = registry.load("studies", "ML-F4")
    values = {
        "first-blocks": [0.1, 0.4, np.nan],
        "later-blocks": [0.3, np.nan, np.nan],
        "first-blocks-by-shortcut": [0.2, 0.2, 0.2],
    }
    samples = {
        contrast.name: Sample(
            (100, 101, 102),
            np.array(values.get(contrast.name, [1.0, 2.0, 4.0])),
            np.zeros(3, dtype=bool),
        )
        for contrast in contrasts(study)
    }
    found = spreads(study, Evidence(samples))
    # a single value has no spread, and equal ones give none to compute power from
    assert found.keys() == {"first-blocks", "first-blocks-norm-alone"}
    assert found["first-blocks"].spread == pytest.approx(np.std([0.1, 0.4], ddof=1))
    assert found["first-blocks"].seeds == 2
    assert found["first-blocks-norm-alone"].spread == pytest.approx(np.std([1, 2, 4], ddof=1))


def test_spread_of_correlations_is_that_of_fishers_z():
    study = registry.load("studies", "ML-F7")
    values = np.array([0.1, 0.5, 0.9])
    sample = Sample((100, 101, 102), values, np.zeros(3, dtype=bool))
    samples = {contrast.name: sample for contrast in contrasts(study)}
    spread = spreads(study, Evidence(samples))["trend"].spread
    assert spread == pytest.approx(np.std(np.arctanh(values), ddof=1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ML-F33", "digits"], "ML-F3"),
        (["ML-F3", "digit"], "digits"),
        (["ML-T2", "exact"], "trains nothing"),
    ],
)
def test_bad_names_end_in_one_sentence(words, message, tmp_path):
    result = CliRunner().invoke(main, [*words, "-o", str(tmp_path)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
