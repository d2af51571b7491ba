"""Measures how fast one thread decodes and shreds full reports, without a server and a destination.

``python -m benchmarks.ours.shredding REPORTS FOLDER``

Seconds are CPU time.
"""

import json
import sys
import time
from itertools import count, islice

from benchmarks.internals import SHREDDED_TOGETHER, WsjfOptions, decode, shred
from benchmarks.server import Reports

SECONDS = 3.0


def main() -> None:
    reports = Reports(int(sys.argv[1]))
    documents = [
        (reports.uuid(number), reports.document(number, gzip=False)) for number in range(reports.count)
    ]
    size = done = 0
    began = time.process_time()
    for first in count(step=SHREDDED_TOGETHER):
        start = first % len(documents)
        group = list(islice(documents, start, start + SHREDDED_TOGETHER))
        shred([decode(uuid, None, body) for uuid, body in group], WsjfOptions())
        size += sum(len(body) for _, body in group)
        done += len(group)
        if (seconds := time.process_time() - began) > SECONDS:
            break
    print(json.dumps({"megabytes_per_second": size / seconds / 1e6, "reports_per_second": done / seconds}))


main()
