"""``wats-extract demo-server``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.errors import ConfigurationError

if TYPE_CHECKING:
    from wats_extract.fake.faults import Faults


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
    "--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="By default one that is free."
)
@click.option(
    "--reports", type=click.IntRange(min=0), default=3000, show_default=True, metavar="N", help="How many."
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    metavar="S",
    help="Which ones: a seed always gives the same.",
)
@click.option("--faults", metavar="SPEC", default="", help="What goes wrong, such as rate=5%,broken=10.")
@click.option(
    "--token", default="demo", show_default=True, metavar="TEXT", help="The token that it asks for."
)
@click.option("--page-cap", type=click.IntRange(min=1), metavar="N", help="Never give more rows in a page.")
@click.option(
    "--requests-per-minute", type=click.IntRange(min=1), metavar="N", help="Answer what is more with 429."
)
@click.option(
    "--latency", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Of each answer."
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
    """Serve an embedded WATS server until Ctrl-C.

    It is made for trying things out: it has reports of a plant that never was, and can misbehave like a
    real server does. It listens on this machine only.
    """
    from wats_extract.fake.app import App
    from wats_extract.fake.plant.data import Plant
    from wats_extract.fake.server import serve_forever

    wrong = _parsed(faults)
    app = App(
        Plant(reports, seed=seed),
        token=token,
        faults=wrong,
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
            f"port {port} cannot be used: {error.strerror or error}", hint="Leave --port out for a free one."
        ) from error
    except KeyboardInterrupt:
        output.say("stopped")


def _parsed(faults: str) -> Faults:
    from wats_extract.fake.faults import Faults

    try:
        return Faults.parse(faults)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--faults") from error


def _introduce(url: str, token: str, reports: int) -> None:
    output.write(
        f"WATS server with {output.number(reports)} reports at {url}, token {token} (Ctrl-C stops it)\n\n"
        f"  export WATS_URL={url} WATS_TOKEN={token}\n"
        f'  $env:WATS_URL="{url}"; $env:WATS_TOKEN="{token}"    # PowerShell\n\n'
    )
