"""The command line: each command parses, calls the library, and hands the result to ``output``.

====================  ==============================================================================
module                holds
====================  ==============================================================================
`app`                 the group of commands, and what becomes of errors
`command`             what every command is: its examples, and `--json` also where it is refused
`output`              tables, errors and numbers as text; nothing else writes
`pipeline_file`       the FILE that most commands take
`running`             what `run` and `retry` share; `progress`, `signals` and `summary` are its parts
all others            one command each
====================  ==============================================================================
"""

from wats_extract.cli.app import main

__all__ = ["main"]
