"""The command ``flowbridge``."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer
from sqlalchemy import select
from sqlalchemy.exc import DatabaseError, OperationalError

from bridge import __doc__ as about
from bridge import registry, scaffold
from bridge.cli_demo import demo
from bridge.cli_doctor import doctor
from bridge.cli_reconcile import dead_letters, reconcile
from bridge.cli_runtime import open_runtime, progress
from bridge.cli_serve import serve, web, worker
from bridge.cli_statements import app as statements_app
from bridge.connect import CAPABILITIES, ConnectorError, capabilities_of
from bridge.documents import DocumentError
from bridge.flows import configure, decide_prompts, identity, open_launch, poll_events, report, sync_catalogue
from bridge.flows.errors import FlowError, Refused
from bridge.lti import keys as lti_keys
from bridge.settings import SettingsError
from bridge.store import migrate, tables

app = typer.Typer(help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
connectors_app = typer.Typer(help="The connectors that are installed.", no_args_is_help=False)
keys_app = typer.Typer(help="LTI signing keys.", no_args_is_help=True)
credentials_app = typer.Typer(help="Keys and secrets of programs that call the API or the LRS.", no_args_is_help=True)
people_app = typer.Typer(help="People who sign in here.", no_args_is_help=True)
report_app = typer.Typer(help="Reports for compliance.", no_args_is_help=True)
db_app = typer.Typer(help="The database.", no_args_is_help=True)
for name, sub in (
    ("connectors", connectors_app),
    ("keys", keys_app),
    ("credentials", credentials_app),
    ("people", people_app),
    ("report", report_app),
    ("statements", statements_app),
    ("db", db_app),
):
    app.add_typer(sub, name=name)
for command in (serve, web, worker, demo, doctor, reconcile, dead_letters):
    app.command()(command)


class Format(StrEnum):
    """The forms of a report."""

    CSV = "csv"
    JSON = "json"


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


@app.command()
def apply(
    path: Annotated[Path, typer.Argument(help="A YAML file, or a folder of them")],
    dry_run: Annotated[bool, typer.Option(help="Only show what would change")] = False,
) -> None:
    """Bring connections, people and rules to what YAML files say; nothing changes when anything is invalid."""
    plan = configure.apply(open_runtime(), path, dry_run=dry_run)
    for change in plan.changes:
        typer.echo(f"{change.action} {change.kind} {change.name}")
        for line in change.lines:
            typer.echo(f"    {line}")
    done = "would change" if dry_run else "changed"
    typer.echo(f"{len(plan.changes)} {done}, {plan.unchanged} as they were.")


@app.command()
def export(
    path: Annotated[Path | None, typer.Argument(help="Where to write; default: the terminal")] = None,
) -> None:
    """Write connections, people and rules as YAML that `apply` takes; secrets stay references or sealed."""
    text = configure.export(open_runtime())
    if path is None:
        typer.echo(text, nl=False)
    else:
        path.write_text(text, encoding="utf-8")


@app.command()
def check(name: Annotated[str, typer.Argument(help="The connection")]) -> None:
    """Say in plain words what of a connection works and what is missing."""
    runtime = open_runtime()
    with runtime.db.read() as session:
        connection = identity.find_connection(session, name)
    health = runtime.connector(connection).check()
    for line in health.works:
        typer.echo(f"works    {line}")
    for line in health.missing:
        typer.echo(f"missing  {line}")
    if not health.ok:
        raise typer.Exit(1)


@app.command()
def sync(
    name: Annotated[str, typer.Argument(help="The connection whose catalogue is walked")],
    full: Annotated[bool, typer.Option(help="Begin again, from the first page")] = False,
) -> None:
    """Synchronise a catalogue; goes on where an unfinished walk stopped."""

    def line(at: sync_catalogue.Progress) -> str:
        of = f" of {at.total}" if at.total else ""
        return f"page {at.pages}: {at.seen}{of} assets seen, {at.changed} changed"

    runtime = open_runtime()
    with progress() as show:
        done = sync_catalogue.sync(runtime, name, full=full, progress=lambda at: show(line(at)))
    resumed = " (went on where the last walk stopped)" if done.resumed else ""
    typer.echo(f"{name}: {done.seen} assets seen, {done.changed} changed, {done.retired} retired{resumed}.")


@app.command()
def poll(name: Annotated[str, typer.Argument(help="The connection that is asked")]) -> None:
    """Ask a business system for new events now; the first time only marks the place to go on from."""
    typer.echo(f"{name}: {poll_events.poll(open_runtime(), name)} new events.")


@app.command()
def decide() -> None:
    """Let the rules decide on the waiting events now, without a worker."""
    typer.echo(f"{decide_prompts.decide(open_runtime())} events decided.")


@app.command()
def revoke(prompt: Annotated[UUID, typer.Argument(help="The prompt's id, as decisions and reports show it")]) -> None:
    """Take back the launch links of a prompt: whoever holds one is told so and what to do."""
    count = open_launch.revoke(open_runtime(), prompt, actor="cli")
    typer.echo(f"{prompt}: {count} launch links taken back.")


@connectors_app.callback(invoke_without_command=True)
def connectors(context: typer.Context) -> None:
    """List the connectors with what each can do and how it was proved."""
    if context.invoked_subcommand:
        return
    for entry in registry.entries():
        if entry.connector is None:
            typer.echo(f"{entry.key:12} BROKEN: {entry.problem}")
            continue
        manifest = entry.connector.manifest
        typer.echo(f"{entry.key:12} {manifest.name}: {', '.join(capabilities_of(entry.connector))}")
        typer.echo(f"{'':12} proved: {manifest.verified} ({manifest.proof})")


@connectors_app.command("new")
def new_connector(
    name: Annotated[str, typer.Argument(help="Its key: lower-case letters, digits and _, as in acme_crm")],
    folder: Annotated[Path, typer.Option(help="Where it goes: a project of its own, or this source tree")] = Path(),
    can: Annotated[list[str] | None, typer.Option(help=f"What it can: {', '.join(CAPABILITIES)}")] = None,
) -> None:
    """Write the skeleton of a connector and its test, which fails until the skeleton is filled in."""
    for path in scaffold.new_connector(name, folder, can or scaffold.USUAL):
        typer.echo(path)
    if scaffold.is_ours(folder):
        line = f'{name} = "connectors.{name}:{scaffold.class_name(name)}"'
        typer.echo(f"Now add {line} to the entry points in pyproject.toml, and run make setup.")


@keys_app.command("list")
def list_keys() -> None:
    """List the signing keys with their states."""
    runtime = open_runtime()
    with runtime.db.read() as session:
        for key in session.scalars(select(tables.SigningKey).order_by(tables.SigningKey.created_at)):
            typer.echo(f"{key.kid}  {key.state:8}  since {key.created_at:%Y-%m-%d %H:%M}")


@keys_app.command("rotate")
def rotate_keys(
    at_once: Annotated[bool, typer.Option("--now", help="Even before every peer can know the next key")] = False,
) -> None:
    """Sign with the next key from now on; the present one stays valid for what it has signed."""
    runtime = open_runtime()
    if (wait := lti_keys.too_early(runtime)) and not at_once:
        raise Refused(
            f"The next key was published less than {lti_keys.CACHE_SECONDS // 60} minutes ago, and peers may still use"
            f" the key set that they fetched before. Rotate in {wait.total_seconds() // 60 + 1:.0f} minutes, or with"
            " --now where the present key must go: a peer that looks up unknown keys follows at once."
        )
    lti_keys.rotate(runtime)
    typer.echo("Rotated: the next key signs now, its successor is published.")


_SCOPES = "\n".join(f"{name:21} {meaning}" for name, meaning in identity.SCOPES.items())


@credentials_app.command("create", help=f"Make a credential; key and secret are printed once. Scopes:\n\n\b\n{_SCOPES}")
def create_credential(
    scope: Annotated[list[str], typer.Option(help="One of those above; again for more")],
    label: Annotated[str, typer.Option(help="What it is for")] = "",
    connection: Annotated[str | None, typer.Option(help="Speaks only in this connection's name")] = None,
) -> None:
    key, secret = identity.create_credential(open_runtime(), label, scope, connection)
    typer.echo(f"key     {key}\nsecret  {secret}")


@credentials_app.command("list")
def list_credentials() -> None:
    """List credentials, never their secrets."""
    runtime = open_runtime()
    with runtime.db.read() as session:
        for row in session.scalars(select(tables.Credential).order_by(tables.Credential.created_at)):
            state = "revoked" if row.revoked_at else "valid"
            typer.echo(f"{row.key}  {state:7}  {', '.join(row.scopes)}  {row.label}")


@credentials_app.command("revoke")
def revoke_credential(key: str) -> None:
    """End a credential at once."""
    identity.revoke_credential(open_runtime(), key)
    typer.echo(f"{key} is revoked.")


@people_app.command("password")
def reset_password(email: Annotated[str, typer.Argument(help="The person's address")]) -> None:
    """Print a new one-time password for a person; it must be replaced at the first sign-in."""
    typer.echo(f"one-time password  {identity.reset_password(open_runtime(), email)}")


def _day(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        _fail(f"'{text}' is not a date or time; write 2026-01-31 or 2026-01-31T08:00:00Z")
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


@report_app.command("completions")
def report_completions(
    since: Annotated[str | None, typer.Option(help="From this date or time on (UTC)")] = None,
    until: Annotated[str | None, typer.Option(help="Up to, not including, this date or time (UTC)")] = None,
    form: Annotated[Format, typer.Option("--format")] = Format.CSV,
) -> None:
    """Completions with the chain of ids that proves each."""
    first, end = _day(since), _day(until)
    if first is not None and first == end:
        _fail(f"nothing lies between {since} and {until}: the end is not included, so name the day after the last one")
    rows = report.completions(open_runtime(must_exist=True), first, end)
    for piece in report.as_csv(rows) if form is Format.CSV else report.as_json(rows):
        sys.stdout.write(piece)


@db_app.command("upgrade")
def upgrade() -> None:
    """Make a database ready for this version: schema, signing keys and, the very first time, an admin."""
    runtime = open_runtime()
    typer.echo(f"The schema is at {migrate.current(runtime.db)}.")


def main() -> None:
    """The entry point: errors that a person can mend are told in one line, without a traceback."""
    _guarded(app)


def _guarded(run: Callable[[], Any]) -> None:
    try:
        run()
    except DocumentError as error:
        _exit("\n".join([*error.problems, "Nothing was changed."]))
    except (ConnectorError, FlowError, SettingsError) as error:
        _exit(str(error))
    except DatabaseError as error:
        if type(error) not in (OperationalError, DatabaseError):
            raise  # a fault of ours, and not the state that the database is in
        words = " ".join(str(error.orig).split()).rstrip(".")
        _exit(f"The database can't be used: {words}. Check FLOWBRIDGE_DATABASE_URL.")
    except OSError as error:
        _exit(f"{error.filename or 'The system'}: {error.strerror or error}")


def _exit(message: str) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
