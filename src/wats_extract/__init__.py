"""All data out of WATS, completely: into Arrow, Parquet, DuckDB, and kept up to date."""

__version__ = "0.1.0"
