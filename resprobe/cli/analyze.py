"""The command `analyze`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from resprobe.cli.common import emit, output_options, say
from resprobe.errors import InputError


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[NAME] INPUT...")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), help="Directory of the results."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of the data set's files, if something must be collected first.",
)
@output_options
def analyze(
    words: tuple[str, ...], out: Path | None, data_dir: Path | None, as_json: bool, quiet: bool
) -> None:
    """Turn recorded INPUTs into findings, figures and a verdict; no model, no GPU.

    NAME is an analysis ('resprobe list analyses'); without it every analysis is run whose data
    are there. One input is written beside itself, several to -o or ./NAME/. Several runs of one
    recipe with other seeds are pooled, two recipes compared, a plain net is its residual one's
    contrast. Two collected checkpoints of a run are before and after: the difference is the later
    minus the earlier. The directory of a sweep stands for all its finished runs.

    \b
    Example:
        resprobe analyze r20
        resprobe analyze lesion h1-seed0 h1-seed1 plain-seed0 -o lesion
        resprobe analyze norm-vs-depth depths
        resprobe analyze r20/collected/step-00000390 r20/collected/step-00001950
    """
    from resprobe.analyze import analyze as run_analyses
    from resprobe.analyze import split_words

    name, inputs = split_words(words)

    def collect(path: Path, quantities: tuple[str, ...], needed: bool) -> None:
        from resprobe.cli.collect import collect_of_run
        from resprobe.collect import chosen_families
        from resprobe.store.reader import collected_checkpoint

        what = "needs" if needed else "reads where it is there"
        named = " and ".join(quantities)
        say(f"{path} lacks what {name} {what}: collecting {named} first", quiet=quiet)
        families = chosen_families("standard", quantities)
        run, checkpoint = collected_checkpoint(path) or (path, "last")
        try:
            collect_of_run(run, str(checkpoint), families, data_dir=data_dir, quiet=quiet)
        except InputError as error:
            if needed:
                raise
            say(f"left out: {error}", quiet=quiet)

    tell = partial(say, quiet=quiet)
    written, lacking = run_analyses(name, inputs, out, collector=collect, tell=tell)
    lines = []
    for item in written:
        lines += [item.result.summary.rstrip(), f"{item.name}: {item.folder}"]
    lines += [f"not measured: {sentence}" for sentence in lacking]
    if not lacking and name is None:
        lines.append(
            "not measured: nothing; every analysis that these inputs ask for found its data."
        )
    emit(
        as_json,
        {
            "analyses": [
                {
                    "name": item.name,
                    "path": str(item.folder),
                    "summary": item.result.summary.splitlines(),
                    "verdict": item.result.verdict,
                }
                for item in written
            ],
            "not_measured": lacking,
        },
        "\n".join(lines),
    )
