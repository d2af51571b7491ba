"""Loads tables into a DuckDB file."""

from wats_extract.destinations.duckdb.destination import DuckDB as DuckDB
