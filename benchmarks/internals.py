"""The parts of wats-extract that benchmarks use although they are not public.

All other files in ``benchmarks/`` run the command line, and import from the package only what is named here.

=============================  =====================================================================
used by                        reason
=============================  =====================================================================
`ours.commits`                 measures the commit alone, so it calls a destination directly
`ours.runs`                    makes many runs against a server in its own process
`ours.shredding`               measures decoding and shredding without a server and a destination
`ours.simulated`               extracts from a server in its own process, so it replaces the transport
`server`, `scale`              serve and measure documents of the embedded server's made-up factory
`simulation`, `throttle`       run the rate limiter with a simulated clock
=============================  =====================================================================
"""

from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.engine.job import Job, Task, Tolerance
from wats_extract.engine.run import execute
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Commit, Destination, Selection
from wats_extract.http.client import Client, Connection
from wats_extract.http.shared_budget import SharedBudget
from wats_extract.http.throttle import Throttle
from wats_extract.http.transport import Request as HttpRequest
from wats_extract.http.transport import Response as HttpResponse
from wats_extract.http.transport import Transport
from wats_extract.readers.by_key import SHREDDED_TOGETHER
from wats_extract.resources.reports import REPORT_HEADERS, REPORTS
from wats_extract.shred.wsjf.shredding import WsjfOptions, decode, shred
from wats_extract.tables import TIMESTAMP

__all__ = [
    "REPORTS",
    "REPORT_HEADERS",
    "SHREDDED_TOGETHER",
    "TIMESTAMP",
    "Client",
    "Commit",
    "Connection",
    "Destination",
    "DuckDB",
    "HttpRequest",
    "HttpResponse",
    "Job",
    "Parquet",
    "Plant",
    "Selection",
    "SharedBudget",
    "Task",
    "Throttle",
    "Tolerance",
    "Transport",
    "WsjfOptions",
    "decode",
    "execute",
    "shred",
]
