"""What a row cost and where its numbers come from, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resprobe_analyses.reproduce import words

Row = Mapping[str, Any]


def budget(row: Row) -> str:
    """Say how many runs there were, how they ended and what they cost."""
    runs, spent = row["budget"]["runs"], row["budget"]
    declared = words.minutes(spent["declared_core_minutes"])
    if row["exact"]:
        took = words.minutes(spent["spent_core_minutes"])
        return f"It took {took}; {declared} were declared.\n" if row["evidence"] else ""
    if not row["evidence"]:
        return (
            f"{words.counted(runs['planned'], 'run')} would be made, in {declared} of one core.\n"
        )
    ended = [f"{runs['trained']:,} trained to their end"]
    ended += [f"{runs[how]:,} {how}" for how in ("diverged", "failed", "missing") if runs[how]]
    shared = spent["shared_with"]
    also = f", shared with {words.listed(shared)}" if shared else ""
    return (
        f"{words.counted(runs['planned'], 'run')} planned{also}: {words.listed(ended)}. "
        f"They took {words.minutes(spent['spent_core_minutes'])} of one core; {declared} were "
        "declared.\n"
    )


def provenance(row: Row, base: str) -> str:
    """Say which code, machine and settings are behind a row, and where its files are."""
    versions = row["versions"]
    commit = f" at commit {row['commit'][:12]}" if row["commit"] else ""
    changed = ", changed since" if row["dirty"] else ""
    machine = row["machine"]
    where = f" on {words.counted(machine['cores'], 'core')} of {machine['processor']}"
    text = (
        f"resprobe {versions['resprobe_version']}{commit}{changed}, torch "
        f"{versions['torch_version']}{where}, {row['recorded'][:10]}.{_runs(row['runs_made_by'])}"
    )
    if row["evidence"]:
        text += f" Every number: [evidence.json]({base}{row['evidence']})."
    if row["settings"]:
        text += (
            "\n\n<details><summary>Settings</summary>\n\n"
            f"```toml\n{row['settings'].rstrip()}\n```\n\n</details>"
        )
    return text + "\n"


def _runs(made_by: Mapping[str, Any]) -> str:
    """Say on what runs were made, and by which code, which may be older than what judged them."""
    if not made_by or not made_by["device_name"]:
        return ""
    commits = [commit[:12] for commit in made_by["git_commit"] if commit]
    at = f", at {'commit' if len(commits) == 1 else 'commits'} {words.listed(commits)}"
    threads = words.listed([words.counted(count, "thread") for count in made_by["threads"]])
    return (
        f" Runs: {words.listed(made_by['device_name'])}, {words.listed(made_by['dtype'])}, "
        f"{threads}{at if commits else ''}."
    )
