"""The parts of a `Recorder`: what is seen in a step, added up, handed over and written."""
