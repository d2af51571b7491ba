"""Crash safety, tested from outside: real processes are killed, a real server fails, and tables are compared.

``python -m tests.chaos`` plays all scenarios; pytest plays a few of them.
"""
