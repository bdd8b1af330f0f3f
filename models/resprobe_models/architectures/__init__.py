"""The architectures by name; no torch is imported until one is asked for."""

ENTRIES = {
    "cifar-resnet": "resprobe_models.architectures.cifar_resnet:cifar_resnet",
    "fc-resnet": "resprobe_models.architectures.fc_resnet:fc_resnet",
    "simplified-resnet": "resprobe_models.architectures.simplified_resnet:simplified_resnet",
}
