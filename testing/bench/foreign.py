#!/usr/bin/python3
"""What the shim adds to calls on files that are not NVIDIA's: runs foreign_bench with and without it, in turns. No
broker is needed, since a process that never opens a GPU is never connected."""

import argparse
import json
import os
import statistics
import subprocess


def nanoseconds(program, preload):
    environment = dict(os.environ)
    environment.pop("LD_PRELOAD", None)
    if preload:
        environment["LD_PRELOAD"] = preload
    output = subprocess.run([program], env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {name: float(value) for name, value in (line.split("\t") for line in output.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the path of foreign_bench")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = parser.parse_args()
    root = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..")
    shim = os.path.realpath(os.environ.get("NVSHIM_PRELOAD") or os.path.join(root, "bazel-bin/preload/libnvshim.so"))
    rounds = [(nanoseconds(arguments.program, None), nanoseconds(arguments.program, shim))
              for _ in range(3 if arguments.quick else 15)]
    for name in rounds[0][0]:
        without = statistics.median(one[name] for one, _ in rounds)
        # The difference of neighbours: what else the machine does changes more slowly than that.
        added = statistics.median(other[name] - one[name] for one, other in rounds)
        print(json.dumps({"name": f"foreign {name}: with the shim", "value": round(without + added, 2), "unit": "ns",
                          "peer": "without", "peer_value": round(without, 2),
                          "ratio": round((without + added) / without, 4)}), flush=True)
        print(json.dumps({"name": f"foreign {name}: added", "value": round(added, 2), "unit": "ns", "peer": None,
                          "peer_value": None, "ratio": None}), flush=True)


if __name__ == "__main__":
    main()
