"""Loads tables into a folder of Parquet files."""

from wats_extract.destinations.parquet.folder import Parquet as Parquet
