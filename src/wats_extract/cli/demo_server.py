"""``wats-extract demo-server``."""

from __future__ import annotations

import signal

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.errors import ConfigurationError
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve_forever


@click.command(
    "demo-server",
    cls=Command,
    examples=(
        "demo-server",
        "demo-server --port 8600 --reports 20000 --seed 7",
        "demo-server --faults rate=5%,kinds=500+429+drop,broken=10",
    ),
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="P",
    help="Port to listen on; by default a free one.",
)
@click.option(
    "--reports",
    type=click.IntRange(min=0),
    default=3000,
    show_default=True,
    metavar="N",
    help="Number of reports.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    metavar="S",
    help="Seed of the generated data; the same seed gives the same data.",
)
@click.option("--faults", metavar="SPEC", default="", help="Faults to inject, such as rate=5%,broken=10.")
@click.option("--token", default="demo", show_default=True, metavar="TEXT", help="The token to accept.")
@click.option("--page-cap", type=click.IntRange(min=1), metavar="N", help="Maximum rows per response.")
@click.option(
    "--requests-per-minute",
    type=click.IntRange(min=1),
    metavar="N",
    help="Respond with 429 above this rate.",
)
@click.option(
    "--latency",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Delay before every response.",
)
def command(
    port: int,
    reports: int,
    seed: int,
    faults: str,
    token: str,
    page_cap: int | None,
    requests_per_minute: int | None,
    latency: float,
) -> None:
    """Run the embedded WATS server by itself.

    The server holds generated reports of a fictional factory, and can inject the faults of a real server. It
    listens on this machine only, until Ctrl-C.
    """
    app = App(
        Plant(reports, seed=seed),
        token=token,
        faults=_parsed(faults),
        page_cap=page_cap,
        requests_per_minute=requests_per_minute,
        latency=latency,
    )
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        serve_forever(app, port, lambda url: _introduce(url, token, reports))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on port {port}: {error.strerror or error}",
            hint="Choose another port, or leave out --port to use a free one.",
        ) from error
    except KeyboardInterrupt:
        output.say("stopped")


def _parsed(faults: str) -> Faults:
    try:
        return Faults.parse(faults)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--faults") from error


def _introduce(url: str, token: str, reports: int) -> None:
    output.write(
        f"WATS server with {output.plural(reports, 'report')} at {url}, token {token} (Ctrl-C stops it)\n\n"
        f"  export WATS_URL={url} WATS_TOKEN={token}\n"
        f'  $env:WATS_URL="{url}"; $env:WATS_TOKEN="{token}"    # PowerShell\n\n'
    )
