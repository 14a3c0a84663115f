"""`lambent init`."""

from __future__ import annotations

from pathlib import Path

import click

from lambent.scaffold import create, templates


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--template", "-t", metavar="NAME", help="Which one; `--list` shows them.")
@click.option("--name", help="The function's name; else the folder's.")
@click.option("--runtime", help="Another runtime than the template's, such as python3.12.")
@click.option("--list", "show", is_flag=True, help="List the templates.")
def init(folder: Path | None, template: str | None, name: str | None, runtime: str | None, show: bool) -> None:
    """Make FOLDER, with a function in it that can be deployed as it is."""
    known = templates()
    if show:
        width = max(map(len, known))
        for each, about in known.items():
            click.echo(f"{each:{width}}  {about}")
        return
    if folder is None:
        raise click.UsageError("name the folder to make, such as `lambent init hello` (`--list` shows the templates)")
    chosen = template or "python-hello"
    if chosen not in known:
        raise click.BadParameter(f"there is no {chosen!r}: {', '.join(known)}", param_hint="--template")
    made = create(folder, chosen, name=name, runtime=runtime)
    for file in made:
        click.echo(f"made {file}", err=True)
    click.echo(f"Next: lambent deploy {folder}", err=True)
