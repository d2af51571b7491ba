"""The files that ``wats-extract init`` writes."""

from __future__ import annotations

_TEMPLATE = """\
# What to extract from WATS, and where to put it.
#
#   wats-extract check FILE     is everything right?
#   wats-extract run FILE       extract; a second run fetches only what is new
#
# ${NAME} and ${NAME:-default} come from the environment, or from a .env file beside this one.

version: 1
name: reports                          # keys the state; lower-case letters, digits and _

source:
  url: ${WATS_URL:-demo}               # https://example.wats.com; "demo" starts the embedded server
  token: ${WATS_TOKEN:-}               # never written here
  # requests_per_minute: 500           # shared by every process that uses the same token
  # max_in_flight: 10                  # requests at the same time
  # max_requests: 20000                # stop cleanly after so many, go on with the next run
  # timeout: 120s

destination:
  type: duckdb                         # duckdb: a file | parquet: a folder
  path: data/wats.duckdb               # relative to the folder the command is run in

resources:                             # `wats-extract resources` lists them all
  - name: report_headers               # one row a report
    since: 2026-01-01                  # a date, a timestamp, or "30 days ago"
    # until: 2026-02-01                # exclusive
    # filter: {part_number: [PCBA-100, PCBA-200], result: Failed}
    # expand: [subUnits, miscInfo]
    # write_disposition: merge         # merge | append | replace

  - name: reports                      # each full report: steps, measurements, charts
    since: 2026-01-01
    # chunk_size: 200                  # reports fetched and committed together
    # attachments: none                # none | metadata | content
    # charts: true
    # keep_raw: false                  # true: the document itself too, compressed

max_failures: 0                        # up to so many recorded failures still exit 0; a number or "1%"
stop_at_failures: 20%                  # so many of the recent items failing: stop, exit 4
"""

ENV_EXAMPLE = """\
# Copy to .env and fill in. Keep .env out of version control: whoever has the token reads your data.
# Without WATS_URL the embedded demo server is read, which needs no token.
WATS_URL=
WATS_TOKEN=
"""

GITIGNORE = """\
.env
data/
"""


def template() -> str:
    """The commented pipeline file to start from; as it is, it reads the embedded demo server."""
    return _TEMPLATE
