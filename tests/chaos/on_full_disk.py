"""Run ``wats-extract run FILE`` on a disk that is full as soon as a file has BYTES bytes (POSIX only).

``python on_full_disk.py BYTES FILE``
"""

from __future__ import annotations

import signal
import sys

from wats_extract.cli import main

if __name__ == "__main__":
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, as it does on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    sys.argv[1:] = ["run", sys.argv[2], "--json", "--quiet"]
    sys.exit(main())
