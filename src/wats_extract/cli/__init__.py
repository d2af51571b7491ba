"""The command line. Each command parses its options, calls the library and shows the result.

====================  ==============================================================================
module                holds
====================  ==============================================================================
`app`                 the command group, lazy loading of commands, and how errors end the process
`command`             the base class of all commands: help with examples
`output`              tables, errors and numbers as text; nothing else writes to stdout or stderr
`streams`             standard streams that never fail
`pipeline_file`       the FILE argument of most commands
`running`             running a pipeline command: signals, progress, report, exit code
`progress`            progress bars and log lines
`signals`             Ctrl-C and SIGTERM
`summary`             the summary after `run`, `retry` and `backfill`
`reading`             opening a destination read-only
all others            one command each
====================  ==============================================================================
"""

from wats_extract.cli.app import main

__all__ = ["main"]
