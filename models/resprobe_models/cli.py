"""The commands of this package by name; neither torch nor any command is imported here."""

ENTRIES = {
    "train": "resprobe_models.commands_train:train",
    "convert": "resprobe_models.commands_convert:convert",
}
