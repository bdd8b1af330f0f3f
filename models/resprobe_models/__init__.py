"""Networks, data sets, recipes and the trainer that `resprobe` offers by name."""
