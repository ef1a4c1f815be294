"""The commands that run: ``flowbridge serve``, ``web`` and ``worker``."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge import observe
from bridge.settings import Settings, SettingsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Run flowbridge.")


def _settings(**overrides: object) -> Settings:
    try:
        settings = Settings.load(**{name: value for name, value in overrides.items() if value is not None})
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    observe.configure(level=settings.log_level, form=settings.log_format)
    return settings


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="Instead of FLOWBRIDGE_PORT.", min=1, max=65535)] = None,
) -> None:
    """Run everything on this machine: web, worker and beat, until Ctrl-C."""
    from bridge.serve import CannotServe
    from bridge.serve import serve as run

    try:
        code = run(_settings(port=port))
    except CannotServe as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(code)


@app.command()
def web(
    workers: Annotated[int, typer.Option(help="How many processes answer requests.", min=1)] = 1,
) -> None:
    """Run the web application alone; `flowbridge worker` does the work behind it."""
    import uvicorn

    settings = _settings()
    uvicorn.run(
        "bridge.web.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        log_config=None,
        log_level="warning",
        access_log=False,  # its lines would hold the tickets of launch links
        server_header=False,
        timeout_graceful_shutdown=2,
    )


@app.command()
def worker(
    concurrency: Annotated[int, typer.Option(help="How many tasks of the same kind run at once.", min=1)] = 2,
    beat: Annotated[bool, typer.Option(help="Also tick; always so with the embedded broker.")] = False,
) -> None:
    """Run the worker alone: it decides, delivers, forwards statements and writes back."""
    from workers.run import run_worker

    raise typer.Exit(run_worker(_settings(), concurrency=concurrency, beat=beat))


@app.command(hidden=True)
def beat() -> None:
    """Run the beat alone."""
    from workers.run import run_beat

    try:
        code = run_beat(_settings())
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
