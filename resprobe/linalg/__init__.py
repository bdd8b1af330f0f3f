"""Pure numerics on tensors: norms and inner products of samples; no modules, no files."""
