"""The command ``flowbridge demo``."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer


def demo(
    once: Annotated[bool, typer.Option(help="Play every scene without a browser, print each hop, and end.")] = False,
    port: Annotated[int, typer.Option(help="The first of four ports beside each other.", min=1, max=65532)] = 8000,
    home: Annotated[Path, typer.Option(help="The folder in which the demo lives.")] = Path(".flowbridge/demo"),
) -> None:
    """Show it all on this machine: a business app, a bridge, an LTI tool and an LRS, ready to be used.

    With --once it exits 0 only if every hop from the business event to the compliance report was seen.
    """
    from bridge.demo import journey, run
    from bridge.serve import CannotServe

    if once:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it started ends with it
        with tempfile.TemporaryDirectory(prefix="flowbridge-demo-") as fresh:
            raise typer.Exit(journey.play(Path(fresh)))
    try:
        code = run.start(home, run.Ports.beginning_with(port))
    except CannotServe as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(code)
