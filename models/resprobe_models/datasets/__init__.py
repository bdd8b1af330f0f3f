"""The data sets by name; each is `load(*, split, data_dir=None) -> resprobe.data.Images`.

The first line of its docstring is what `resprobe list datasets` shows.
"""

ENTRIES = {
    "cifar10": "resprobe_models.datasets.cifar10:load",
    "cifar100": "resprobe_models.datasets.cifar100:load",
    "digits": "resprobe_models.datasets.digits:load",
    "stl10": "resprobe_models.datasets.stl10:load",
    "two-moons": "resprobe_models.datasets.two_moons:load",
}
