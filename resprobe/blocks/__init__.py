"""Record a forward pass as a program; find, replay and intervene on its residual blocks."""
