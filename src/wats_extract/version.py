"""The version of wats-extract."""

__version__ = "0.1.0"
