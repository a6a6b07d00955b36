#!/usr/bin/python3
"""Proves gpu-broker on a machine with a GPU: runs every program of the kit natively and through the broker, compares what
they print byte for byte, and prints one table.

Needs the NVIDIA driver, Python 3.9 and nothing else; what is there of nvcc and PyTorch is used as well. Changes no
setting of the GPU. Results, outputs and the broker's log are kept in a folder. With --driver sim the programs run
against a simulated GPU, to try the kit itself.
"""

import argparse
import collections
import importlib.machinery
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the kit may lie on a read-only medium
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import broker as broker_module  # noqa: E402
import recording  # noqa: E402
import report  # noqa: E402
import table  # noqa: E402

EXIT_FAILED, EXIT_USAGE, EXIT_NOTHING = 1, 2, 77
TAIL_LINES = 15
BUILD_TIMEOUT_S = 300.0


def load_with_broker():
    """with-broker, whose private /dev the guests get; its name has no .py."""
    loader = importlib.machinery.SourceFileLoader("with_broker", os.path.join(HERE, "with-broker"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("with_broker", loader))
    loader.exec_module(module)
    return module


with_broker = load_with_broker()


def say(message=""):
    print(message, flush=True)


def first_line(*command):
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
                                timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = result.stdout.splitlines()
    return lines[0].strip() if result.returncode == 0 and lines else None


def driver_version():
    """Of the kernel module; None without one."""
    try:
        with open("/proc/driver/nvidia/version", encoding="ascii", errors="replace") as file:
            found = re.search(r"\b(\d{3,}\.\d+(\.\d+)?)\b", file.read())
    except OSError:
        return first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return found[1] if found else None


def make_uvm_node():
    """NVIDIA's own tool makes /dev/nvidia-uvm where no CUDA program has run since the machine started."""
    if not os.path.exists("/dev/nvidia-uvm"):
        first_line("nvidia-modprobe", "-u", "-c=0")


def nodes():
    """The device nodes that a process needs."""
    found = ["/dev/nvidiactl", "/dev/nvidia-uvm"]
    found += [os.path.join("/dev", name) for name in sorted(os.listdir("/dev")) if re.fullmatch(r"nvidia\d+", name)]
    return found


class Machine:
    """What the programs run on."""

    def __init__(self, arguments):
        self.simulated = arguments.driver == "sim"
        self.facts = {"date": time.strftime("%Y-%m-%d %H:%M:%S %z"), "kernel": platform.release(),
                      "libc": " ".join(platform.libc_ver()), "python": platform.python_version(),
                      "kit": self._kit_version()}
        self.clients = None
        if self.simulated:
            self.clients = arguments.clients or os.environ.get("NVSHIM_CLIENTS") or with_broker.default_clients(
                with_broker.DEFAULT_DRIVER_VERSION)
            if not os.path.exists(os.path.join(self.clients, "lib", "libcuda.so.1")):
                raise LookupError(f"NVIDIA's libraries are not in {self.clients}: testing/clients/get fetches them")
            self.facts["driver"] = f"simulated, {with_broker.DEFAULT_DRIVER_VERSION}"
            self.facts["gpu"] = arguments.sim_gpu
            self.broker_flags = ["--driver=sim", f"--sim-gpu={arguments.sim_gpu}"]
            self.nodes = []
        else:
            version = driver_version()
            if version is None:
                raise LookupError("no NVIDIA driver here: /proc/driver/nvidia/version is missing")
            make_uvm_node()
            self.nodes = nodes()
            missing = [node for node in self.nodes if not os.path.exists(node)]
            if missing or len(self.nodes) < 3:
                raise LookupError(f"no device nodes here: {', '.join(missing) or '/dev/nvidia0'} is missing")
            self.facts["driver"] = version
            self.facts["gpu"] = first_line("nvidia-smi", "-L") or "unknown: nvidia-smi does not answer"
            self.broker_flags = ["--driver=kernel"]

    @staticmethod
    def _kit_version():
        try:
            with open(os.path.join(HERE, "VERSION"), encoding="utf-8") as file:
                return file.read().strip()
        except FileNotFoundError:
            return "not packed"


class Kit:
    def __init__(self, arguments, machine, folder, programs):
        self.arguments, self.machine, self.folder, self.programs = arguments, machine, folder, programs
        self.results = arguments.results
        user = broker_module.User(arguments.user, machine.nodes)
        self.user = user.name
        self.brokers = {}
        self.commands = {}  # by name of the program
        # On hardware one broker; on the simulator one for each way to treat kernels.
        for kernels in ("skip", "fail") if machine.simulated else ("",):
            own = [one for one in programs if not machine.simulated or one.sim_kernels == kernels]
            if own:
                self.brokers[kernels] = self._broker(kernels, own, user)

    def _broker(self, kernels, programs, user):
        flags = self.machine.broker_flags + ([f"--sim-kernels={kernels}"] if kernels else [])
        guests = [guest for one in programs for guest in guests_of(one)]
        quotas = {guest: one.quota for one in programs if one.quota for guest in guests_of(one)}
        suffix = f"-{kernels}" if kernels else ""
        return broker_module.Broker(
            os.path.join(HERE, "bin"), os.path.join(self.folder, f"b{suffix}"), user, flags, guests, quotas,
            os.path.join(self.results, f"gpu-broker{suffix}.log"))

    def broker_of(self, program):
        return self.brokers[program.sim_kernels if self.machine.simulated else ""]

    # ---- Running ----

    def environment(self, where):
        """Of a program; `where` is native, brokered or record, which share nothing that one could leave the other."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NVSHIM_")}
        home = os.path.join(self.folder, f"home-{where}")
        os.makedirs(home, exist_ok=True)
        environment.update(HOME=home, TORCHINDUCTOR_CACHE_DIR=os.path.join(home, "inductor"),
                           PYTHONUSERBASE=os.environ.get("PYTHONUSERBASE", os.path.expanduser("~/.local")),
                           PYTHONDONTWRITEBYTECODE="1")
        if self.machine.clients:
            with_broker.prepend(os.path.join(self.machine.clients, "lib"), environment, "LD_LIBRARY_PATH")
            with_broker.prepend(os.path.join(self.machine.clients, "bin"), environment, "PATH")
        return environment

    def guest_environment(self, program, where="brokered"):
        environment = self.environment(where)
        sockets = [self.broker_of(program).sockets[guest] for guest in guests_of(program)]
        preload = os.path.join(HERE, "lib", "libnvshim.so")
        environment["NVSHIM_LOG"] = "1"  # should there be no GPU for it, the shim says why
        if program.scenario:
            environment.update(NVSHIM_KIT_PRELOAD=preload, NVSHIM_KIT_SOCKETS=" ".join(sockets))
        else:
            environment.update(LD_PRELOAD=preload, NVSHIM_SOCKET=sockets[0])
        if self.machine.simulated and program.sim_kernels == "skip":
            environment["NVSHIM_KIT_KERNELS"] = "skipped"
        return environment

    def private_dev(self):
        scratch = tempfile.mkdtemp(dir=self.folder)
        return lambda: with_broker.protect_dev(scratch)

    def guests_see_nodes(self):
        """Whether a program that runs as a guest would find the real device nodes, should the shim miss a call."""
        if self.machine.simulated:
            return False
        return subprocess.run(["/bin/sh", "-c", "test -e /dev/nvidiactl"], check=False, env={},
                              preexec_fn=self.private_dev()).returncode == 0

    def build(self, program):
        """Compiles a .cu; the path of the program, or a Run that says why there is none."""
        nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
        if not os.path.exists(nvcc):
            return report.Run(report.EXIT_NOT_APPLICABLE, 0.0, "not applicable: no nvcc here\n", "")
        path = os.path.join(self.folder, program.name)
        libraries = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(nvcc))), "lib64")
        command = [nvcc, "-O2", "-std=c++17", "-arch=native", os.path.join(HERE, program.command[0]), "-o", path,
                   *program.build, f"-L{libraries}", "-Xlinker", "-rpath", "-Xlinker", libraries]
        try:
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                    check=False, timeout=BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return report.Run(None, BUILD_TIMEOUT_S, "", "nvcc")
        if result.returncode != 0:
            return report.Run(1, 0.0, "", f"nvcc: {result.stdout}")
        return path

    def command(self, program):
        """The words to start, or a Run that says why there is nothing to start. Builds once."""
        if program.name not in self.commands:
            first, *rest = program.command
            path = os.path.join(HERE, first) if "/" in first else first
            if program.build is not None:
                built = self.build(program)
                self.commands[program.name] = built if isinstance(built, report.Run) else [built, *rest]
            elif path.endswith(".py"):
                self.commands[program.name] = [self.arguments.python, "-B", path, *rest]
            else:
                self.commands[program.name] = [path, *rest]
        return self.commands[program.name]

    def execute(self, program, where, environment, private_dev=None):
        """One run; its output is kept in the folder of results."""
        command = self.command(program)
        if isinstance(command, report.Run):
            return command
        folder = os.path.join(self.results, program.name)
        os.makedirs(folder, exist_ok=True)
        paths = [os.path.join(folder, f"{where}.{kind}") for kind in ("out", "err")]
        start = time.monotonic()
        with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
            try:
                process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                           stderr=err, cwd=folder, start_new_session=True, preexec_fn=private_dev)
            except FileNotFoundError:
                return report.Run(report.EXIT_NOT_APPLICABLE, 0.0, f"not applicable: no {program.command[0]} here\n", "")
            status = wait(process, program.timeout_s)
        elapsed = time.monotonic() - start
        texts = []
        for path in paths:
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return report.Run(status, elapsed, *texts)

    def run_natively(self, program):
        """The native run; None where there is none."""
        if program.quota or self.machine.simulated and not self.arguments.stand_in:
            return None
        if self.machine.simulated:
            self.broker_of(program).start()
            return self.execute(program, "native", self.guest_environment(program, "native"), self.private_dev())
        return self.execute(program, "native", self.environment("native"))

    def run(self, program, native):
        broker = self.broker_of(program)
        before = counts_of(broker.guests(), guests_of(program))
        brokered = self.execute(program, "brokered", self.guest_environment(program), self.private_dev())
        complaint, guests = None, {}
        try:
            guests, complaint = broker.await_release(guests_of(program))
        except (broker_module.Failure, subprocess.TimeoutExpired, ValueError) as error:
            complaint = str(error)
        if broker.ended() is not None:
            complaint = f"gpu-broker ended with status {broker.ended()}"
        outcome, reason, equal = report.judge(native, brokered, program.masks, complaint,
                                              program.fails_in_sim or None if self.machine.simulated else None)
        counts = counts_of(guests, guests_of(program))
        counts.subtract(before)
        refusals = {name: count for name, count in counts.items() if name != IOCTLS and count}
        return {
            "program": program.name, "outcome": outcome, "reason": reason, "equal": equal,
            "native_s": native.seconds if native else None, "brokered_s": brokered.seconds,
            "ioctls": counts[IOCTLS] if guests else None,
            "refused": sum(refusals.values()) if guests else None, "refusals": refusals,
            "timings": report.merge_timings(report.timings(native.errors) if native else {},
                                            report.timings(brokered.errors)),
            "complaint": complaint,
        }

    def record(self, program):
        """A third run, natively where that is possible, that writes down what the program asks of the driver."""
        environment = (self.guest_environment(program, "record") if self.machine.simulated or program.quota
                       else self.environment("record"))
        environment["NVSHIM_RECORD"] = os.path.join(self.results, program.name, "recording")
        recorder = os.path.join(HERE, "lib", "record.so")
        # Of a scenario, which starts its guests itself, and in front of the shim.
        variable = "NVSHIM_KIT_PRELOAD" if "NVSHIM_KIT_PRELOAD" in environment else "LD_PRELOAD"
        with_broker.prepend(recorder, environment, variable)
        guest = self.machine.simulated or program.quota
        self.execute(program, "record", environment, self.private_dev() if guest else None)

    def stop(self):
        return [complaint for one in self.brokers.values() if (complaint := one.stop())]


IOCTLS = "ioctls"


def counts_of(guests, names):
    """How many ioctls the guests `names` have made so far, and how many were refused for each reason."""
    counts = collections.Counter()
    for name in names:
        if name in guests:
            counts[IOCTLS] += guests[name]["ioctls_total"]
            counts.update(guests[name]["refusals_total"])
    return counts


def guests_of(program):
    return [f"{program.name}-{number}" for number in range(1, program.guests + 1)]


def wait(process, timeout_s):
    """The status, 128+n for signal n, None after the time-out; nothing of its process group is left."""
    try:
        status = process.wait(timeout_s)
        status = 128 - status if status < 0 else status
    except subprocess.TimeoutExpired:
        status = None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    return status


def show_tail(results, program):
    for kind in ("native.out", "native.err", "brokered.out", "brokered.err"):
        path = os.path.join(results, program, kind)
        if not os.path.exists(path) or os.path.getsize(path) == 0:
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()[-TAIL_LINES:]
        say(f"  {kind}:")
        for line in lines:
            say(f"    {line.rstrip()}")


def select(arguments):
    chosen = [one for one in table.PROGRAMS
              if (one.name in arguments.only if arguments.only else one.quick or not arguments.quick)]
    unknown = set(arguments.only) - {one.name for one in table.PROGRAMS}
    if unknown:
        raise ValueError(f"no program {', '.join(sorted(unknown))}: --list says which there are")
    return chosen


def parse():
    parser = argparse.ArgumentParser(
        prog="run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit status: 0 nothing failed; 1 something did; 2 usage; 77 there is no GPU, or no library, to run on")
    parser.add_argument("--quick", action="store_true", help="only a few short programs")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this program; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the programs and end")
    parser.add_argument("--json", metavar="FILE", help="where to write the results (results.json in the results folder)")
    parser.add_argument("--results", metavar="DIR", help="folder for outputs and logs (a new one in the current folder)")
    parser.add_argument("--user", metavar="NAME", help="started by root, whom to run the broker as (nobody)")
    parser.add_argument("--record", action="store_true",
                        help="run every program once more and write down its ioctls, natively; compare them with the tables")
    parser.add_argument("--python", metavar="PATH", default=sys.executable, help="Python with PyTorch (the one that runs this)")
    parser.add_argument("--driver", choices=["kernel", "sim"], default="kernel", help="what is behind the broker (kernel)")
    parser.add_argument("--stand-in", action="store_true",
                        help="with --driver sim: a first run through the broker stands in for the native one")
    parser.add_argument("--sim-gpu", default="h100", help="the simulated GPU (h100)")
    parser.add_argument("--clients", metavar="DIR", help="NVIDIA's libraries for --driver sim")
    return parser.parse_args()


def main():
    arguments = parse()
    if arguments.list:
        for one in table.PROGRAMS:
            say(one.name)
        return 0
    try:
        programs = select(arguments)
        machine = Machine(arguments)
    except ValueError as error:
        say(f"run.sh: {error}")
        return EXIT_USAGE
    except LookupError as error:
        say(f"run.sh: {error.args[0]}")
        return EXIT_NOTHING
    arguments.results = os.path.abspath(arguments.results or time.strftime("results-%Y%m%d-%H%M%S"))
    os.makedirs(arguments.results, exist_ok=True)
    # Short, because the sockets in it may have 107 characters; open, because the broker is another user.
    folder = tempfile.mkdtemp(prefix="nvshim-kit-", dir="/tmp")
    os.chmod(folder, 0o755)
    try:
        return run_all(Kit(arguments, machine, folder, programs))
    except broker_module.Failure as error:
        say(f"run.sh: {error}")
        return EXIT_FAILED
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare_recordings(kit):
    """Lines that say what the tables of the broker lack."""
    paths = [os.path.join(kit.results, one.name, "recording") for one in kit.programs]
    version = with_broker.DEFAULT_DRIVER_VERSION if kit.machine.simulated else kit.machine.facts["driver"]
    table_version, calls, lines = recording.report([path for path in paths if os.path.exists(path)], version)
    return [*lines, f"{calls} recorded calls held against the table of {table_version}: {len(lines)} differences"]


def run_all(kit):
    facts = kit.machine.facts
    facts["broker_user"] = kit.user
    facts["guests_see_nodes"] = kit.guests_see_nodes()
    for name, value in facts.items():
        say(f"{name}: {value}")
    say()
    results = []
    early = {}
    try:
        for program in kit.programs:
            if program.before_broker:
                say(f"{program.name}, before the broker ...")
                early[program.name] = kit.run_natively(program)
        for program in kit.programs:
            say(f"{program.name} ...")
            # With the broker holding the GPU both runs find it initialised.
            kit.broker_of(program).start()
            native = early[program.name] if program.name in early else kit.run_natively(program)
            results.append(kit.run(program, native))
            if kit.arguments.record and program.record:
                kit.record(program)
            if results[-1]["outcome"] in (report.FAIL, report.NATIVE):
                say(f"  {results[-1]['reason']}")
                show_tail(kit.results, program.name)
    finally:
        complaints = kit.stop()
    path = kit.arguments.json or os.path.join(kit.results, "results.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"machine": facts, "results": results, "broker_complaints": complaints}, file, indent=2)
        file.write("\n")
    say()
    for line in report.table(results):
        say(line)
    if kit.arguments.record:
        say()
        for line in compare_recordings(kit):
            say(line)
    figures = report.figures(results)
    if figures:
        say()
        for line in figures:
            say(line)
    for complaint in complaints:
        say(complaint)
    say()
    say(f"Outputs, logs and results.json: {kit.results}")
    say(report.totals(results))
    failed = complaints or any(one["outcome"] in (report.FAIL, report.NATIVE) for one in results)
    return EXIT_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
