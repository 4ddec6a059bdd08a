"""Stand-ins at the process boundary: a simulated engine, a clock moved by hand, a store that fails on demand.

Shipped, because benchmarks and chaos use them too; nothing but tests and harnesses imports them.
"""

from swarmproxy.testing.clock import Clock, FakeClock, SystemClock
from swarmproxy.testing.engine import SimEngine
from swarmproxy.testing.faults import Call, Fault
from swarmproxy.testing.objects import Container
from swarmproxy.testing.store import FaultyStore

__all__ = ["Call", "Clock", "Container", "FakeClock", "Fault", "FaultyStore", "SimEngine", "SystemClock"]
