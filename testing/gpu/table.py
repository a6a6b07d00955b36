"""Which programs the kit runs, and how. Data: run.py does the work."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    command: tuple            # the first word is a path in the kit, or a program of the machine when it has no slash
    timeout_s: float = 120.0  # ends a hang; measures nothing
    quick: bool = False       # a part of --quick
    guests: int = 1           # how many guests it is given
    quota: str = ""           # of its guests; such a program is only run through the broker
    scenario: bool = False    # starts programs of its guests itself, and is no guest
    before_broker: bool = False  # its native run comes before the broker holds the GPU
    build: tuple = None       # a .cu that nvcc compiles here, with these libraries
    masks: tuple = ()         # (pattern, replacement) for what changes from run to run
    record: bool = True       # False: asks on purpose for what no table lists
    sim_kernels: str = "skip"  # what the simulated GPU does with kernels when it runs this
    fails_in_sim: str = ""    # why it cannot work on a simulated GPU


# What changes from one nvidia-smi to the next.
VOLATILE = ((r"^(\s*(?:Timestamp|Used|Free)\s*:).*", r"\1 (volatile)"),)

NO_SHARED_PAGES = "libcuda keeps such events in pages that two processes map, and the shim cannot swap those"

PROGRAMS = (
    Program("attach", ("programs/attach",), before_broker=True),
    Program("query_devices", ("clients/query_devices",), quick=True),
    Program("nvidia_smi_list", ("nvidia-smi", "-L"), quick=True),
    Program("nvidia_smi_query", ("nvidia-smi", "--format=csv",
                                 "--query-gpu=name,uuid,pci.bus_id,driver_version,memory.total,compute_cap,compute_mode,"
                                 "persistence_mode,mig.mode.current,ecc.mode.current,vbios_version")),
    Program("nvidia_smi_details", ("nvidia-smi", "-q", "-d", "MEMORY,ECC,COMPUTE"), masks=VOLATILE),
    Program("vector_add", ("programs/vector_add",), quick=True),
    Program("many_blocks", ("programs/many_blocks",)),
    Program("cooperative", ("programs/cooperative",)),
    Program("copy_memory", ("clients/copy_memory",), sim_kernels="fail"),
    Program("copy_2d", ("clients/copy_2d",), sim_kernels="fail"),
    Program("device_copies", ("programs/device_copies",)),
    Program("set_memory", ("clients/set_memory",), sim_kernels="fail"),
    Program("host_memory", ("clients/host_memory",), sim_kernels="fail"),
    Program("streams_events", ("clients/streams_events",), sim_kernels="fail",
            masks=((r"^(a copy of \d+ bytes took) .*", r"\1 (volatile)"),)),
    Program("blocking_waits", ("clients/blocking_waits",), sim_kernels="fail", masks=((r"\d+(\.\d+)?", "(volatile)"),)),
    Program("graphs", ("programs/graphs",), quick=True),
    Program("managed", ("programs/managed",)),
    Program("managed_memory", ("clients/managed_memory",), sim_kernels="fail"),
    Program("virtual_memory", ("programs/virtual_memory",), quick=True),
    Program("shared_descriptor", ("programs/shared_descriptor",)),
    Program("ipc", ("programs/ipc",)),
    Program("ipc_event", ("programs/ipc_event",), fails_in_sim=NO_SHARED_PAGES),
    Program("load_module", ("clients/load_module",), sim_kernels="fail"),
    Program("newer_calls", ("clients/newer_calls",), sim_kernels="fail"),
    Program("memory_info", ("clients/memory_info",), masks=((r"\d+ bytes are free|\d+ of", "(volatile)"),)),
    # Threads of one process take turns at printing.
    Program("threads", ("clients/threads",), sim_kernels="fail", masks=((r"^thread \d: context \d of \d\n", ""),)),
    Program("fault", ("programs/fault",)),
    Program("eight_processes", ("scenarios/at_once.py", "1"), scenario=True),
    Program("eight_guests", ("scenarios/at_once.py", "8"), scenario=True, guests=8),
    Program("fault_next_door", ("scenarios/fault_next_door.py",), scenario=True, guests=2),
    Program("two_guests", ("scenarios/two_guests.py", "2048"), scenario=True, guests=2, quota="2GiB",
            record=False, quick=True),
    Program("memory_quota", ("clients/memory_quota", "4096"), quota="4GiB"),
    Program("latency", ("programs/latency",), quick=True),
    Program("gemm", ("cuda/gemm.cu",), build=("-lcublas",)),
    Program("grid_groups", ("cuda/grid_groups.cu",), build=()),
    Program("runtime_graphs", ("cuda/runtime_graphs.cu",), build=()),
    Program("torch_matmul", ("python/torch_matmul.py",), timeout_s=300),
    Program("torch_training", ("python/torch_training.py",), timeout_s=300),
    Program("torch_compile", ("python/torch_compile.py",), timeout_s=600),
)
