"""Crash safety from outside: real processes, killed; a real server, failing; tables, compared.

``python -m tests.chaos`` runs all of it, pytest a short version.
"""
