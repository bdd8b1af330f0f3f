"""The commands, one file per group, no logic; torch is imported only where a command needs it."""

ENTRIES = {
    "collect": "resprobe.cli.collect:collect",
    "analyze": "resprobe.cli.analyze:analyze",
    "inspect": "resprobe.cli.inspect:inspect",
    "list": "resprobe.cli.list:list_",
    "check": "resprobe.cli.check:check",
    "export": "resprobe.cli.export:export",
    "demo": "resprobe.cli.demo:demo",
}
