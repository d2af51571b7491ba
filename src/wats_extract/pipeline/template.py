"""The files that ``wats-extract init`` writes."""

from __future__ import annotations

_TEMPLATE = """\
# What to extract from WATS, and where to load it.
#
#   wats-extract check FILE     check the file, the server, the token and the destination
#   wats-extract run FILE       extract; a second run fetches only what is new
#
# ${NAME} and ${NAME:-default} are read from the environment, or from a .env file beside this file or above.
# Add --demo to read the embedded demo server instead. A destination belongs to one server: delete the demo's
# before you load from your own.

version: 1
name: reports                          # identifies the state; lower-case letters, digits and _

source:
  url: ${WATS_URL}                     # such as https://example.wats.com
  token: ${WATS_TOKEN}                 # from the environment; never write it here
  # id: plant-a                        # identifies the server, if it is reached under several addresses
  # requests_per_minute: 500           # shared by all processes that use the same token
  # max_in_flight: 10                  # concurrent requests
  # max_requests: 20000                # stop cleanly after this many; the next run goes on
  # timeout: 120s

destination:
  type: duckdb                         # duckdb: a file | parquet: a folder
  path: ../data/wats.duckdb            # relative to the folder of this file

resources:                             # `wats-extract resources` lists them all
  - name: report_headers               # one row per report
    since: 2026-01-01                  # a date, a timestamp, or "30 days ago"
    # until: 2026-02-01                # exclusive
    # filter: {part_number: [PCBA-100, PCBA-200], result: Failed}
    # expand: [subUnits, miscInfo]
    # write_disposition: merge         # merge | append | replace

  - name: reports                      # full reports: steps, measurements, charts
    since: 2026-01-01
    # chunk_size: 200                  # reports fetched and committed together
    # attachments: none                # none | metadata | content
    # charts: true
    # keep_raw: false                  # true: load the document itself too, compressed

max_failures: 0                        # up to this many open failures still exit 0; a number or "1%"
stop_at_failures: 20%                  # stop with exit code 4 if this share of recent items fails
"""

ENV_EXAMPLE = """\
# Copy this file to .env and fill it in. Keep .env out of version control: the token gives access to your
# data.
WATS_URL=
WATS_TOKEN=
"""

GITIGNORE = """\
.env
data/
"""


def template() -> str:
    """A commented pipeline file to start with, for the folder ``pipelines``."""
    return _TEMPLATE
