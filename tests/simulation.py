"""The simulated clock and server of the benchmarks, for tests of the throttle."""

from __future__ import annotations

from benchmarks.simulation import Server, Simulation, most_in_a_minute, persistent

__all__ = ["Server", "Simulation", "most_in_a_minute", "persistent"]
