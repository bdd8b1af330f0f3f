"""Settings of the analyses' tests."""

from __future__ import annotations

from hypothesis import settings

# a busy machine is no failure: examples are small, and the suite as a whole is timed
settings.register_profile("analyses", deadline=None)
settings.load_profile("analyses")
