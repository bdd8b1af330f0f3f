"""The bundled recipes by name: `"package:file"`, read as a resource of that package."""

ENTRIES = {
    "plain-20-cifar10": "resprobe_models.recipes:plain-20-cifar10.toml",
    "plain-20-digits": "resprobe_models.recipes:plain-20-digits.toml",
    "plain-56-digits": "resprobe_models.recipes:plain-56-digits.toml",
    "resnet-20-cifar10": "resprobe_models.recipes:resnet-20-cifar10.toml",
    "resnet-20-digits": "resprobe_models.recipes:resnet-20-digits.toml",
    "resnet-20-two-moons": "resprobe_models.recipes:resnet-20-two-moons.toml",
    "resnet-32-cifar10": "resprobe_models.recipes:resnet-32-cifar10.toml",
    "resnet-56-cifar10": "resprobe_models.recipes:resnet-56-cifar10.toml",
    "resnet-56-digits": "resprobe_models.recipes:resnet-56-digits.toml",
    "simplified-plain-20-cifar10": "resprobe_models.recipes:simplified-plain-20-cifar10.toml",
    "simplified-plain-20-digits": "resprobe_models.recipes:simplified-plain-20-digits.toml",
    "simplified-resnet-20-cifar10": "resprobe_models.recipes:simplified-resnet-20-cifar10.toml",
    "simplified-resnet-20-digits": "resprobe_models.recipes:simplified-resnet-20-digits.toml",
}
