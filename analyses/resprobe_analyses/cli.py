"""The commands of this package by name; no command is imported here."""

ENTRIES = {
    "sweep": "resprobe_analyses.commands_sweep:sweep",
    "reproduce": "resprobe_analyses.commands_reproduce:reproduce",
}
