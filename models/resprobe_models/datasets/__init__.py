"""The data sets by name; each is `load(*, split, data_dir=None) -> resprobe.data.Images`."""

ENTRIES = {
    "cifar10": "resprobe_models.datasets.cifar10:load",
    "digits": "resprobe_models.datasets.digits:load",
}
