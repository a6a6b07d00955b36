"""Which programs the kit runs, and how. Data: run.py does the work."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    command: tuple            # the first word is a path in the kit, or a program of the machine when it has no slash
    timeout_s: float = 120.0  # ends a hang; measures nothing
    quick: bool = False       # a part of --quick
    guests: int = 1           # how many guests it is given; with more than one the program starts them itself
    quota: str = ""           # of its guests; such a program is only run through the broker
    native: bool = True       # False: means nothing without a broker
    masks: tuple = ()         # (pattern, replacement) for what changes from run to run
    sim_kernels: str = "skip"  # what the simulated GPU does with kernels when it runs this
    fails_in_sim: str = ""    # why it cannot work on a simulated GPU


PROGRAMS = (
    Program("query_devices", ("clients/query_devices",), quick=True),
    Program("copy_memory", ("clients/copy_memory",), quick=True, sim_kernels="fail"),
    Program("vector_add", ("programs/vector_add",), quick=True),
)
