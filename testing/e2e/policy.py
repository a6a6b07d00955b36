#!/usr/bin/python3
"""Law: what a policy file denies, NVIDIA's programs do not get, and it is counted; in shadow they get it, and it is counted
apart. What the broker answers by itself, they take for done.

usage: policy.py denied|shadow. Runs under testing/with-broker, with a policy that denies the name of the GPU."""

import os
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402

NAME = "NVIDIA H100 80GB HBM3"
TIMEOUT_S = 60  # a hang ends; nothing is measured


def ask(*command):
    """What the command prints as a guest; nvidia-smi without the name fails."""
    # env itself is started without the shim, which comes in with the exec.
    return subprocess.run(["env", f"LD_PRELOAD={guests.PRELOAD}", *command], stdout=subprocess.PIPE, text=True,
                          timeout=TIMEOUT_S, check=False).stdout


def main():
    shadow = {"denied": False, "shadow": True}[sys.argv[1]]
    shown = ask("nvidia-smi", "-L")
    if (NAME in shown) != shadow:
        guests.fail(f"nvidia-smi -L says {shown}")
    counts = [guest for worker in guests.stats()["workers"] for guest in worker["guests"]]
    denied = sum(guest["refusals_total"].get("denied_by_policy", 0) for guest in counts)
    would_be_denied = sum(guest["would_be_denied_total"] for guest in counts)
    if (denied == 0) != shadow or (would_be_denied != 0) != shadow:
        guests.fail(f"{denied} denied, {would_be_denied} would be")


if __name__ == "__main__":
    main()
