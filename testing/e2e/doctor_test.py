#!/usr/bin/python3
"""Laws of gpu-brokerctl doctor on the machine that there is. Runs under testing/with-broker as any user.

1. With a broker that simulates a GPU nothing that it needs is missing, and none of it is a GPU.
2. Without a broker, and where nobody may ask it, that is what fails, with a remedy; the exit status tells."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402
import supervisors  # noqa: E402

NOBODY = 65534


def doctor(*arguments, launcher=(), status):
    """Findings by the names of their checks."""
    result = subprocess.run([*launcher, guests.BROKERCTL, "--socket", guests.SOCKET, "doctor", "--json", *arguments],
                            stdout=subprocess.PIPE, text=True, check=False, timeout=guests.PATIENCE_S)
    report = json.loads(result.stdout)
    findings = {finding["check"]: finding for finding in report["findings"]}
    failed = [name for name, finding in findings.items() if finding["health"] == "fail"]
    if result.returncode != status or report["failed"] != len(failed) or (status == 1) != bool(failed):
        guests.fail(f"doctor ends with {result.returncode}, {status} is right: {result.stdout}")
    for finding in findings.values():
        if not finding["seen"] or (finding["health"] == "ok") == bool(finding["remedy"]):
            guests.fail(f"a finding without what was seen, or without a remedy: {finding}")
    return findings


def expect(findings, check, health, seen):
    if findings[check]["health"] != health or seen not in findings[check]["seen"]:
        guests.fail(f"'{check}' is {findings[check]}; {health}, '{seen}' is right")


def check_other_user(folder):
    """Who is not the broker's user, nor in a group of its."""
    os.chmod(folder, 0o755)
    os.chmod(guests.SOCKET, 0o660)
    # A copy of the program, where that user may read it.
    guests.BROKERCTL = shutil.copy(guests.BROKERCTL, folder)
    launcher = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    findings = doctor("--driver=sim", launcher=launcher, status=1)
    expect(findings, "control socket", "fail", "you may not ask the broker")
    expect(findings, "guests' socket", "warn", "you may not connect")


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-doctor-", dir="/tmp")
    try:
        supervisor = supervisors.Supervisor(folder, [])
        findings = doctor(status=0)
        expect(findings, "control socket", "ok", "gpu-broker")
        expect(findings, "guests' socket", "ok", guests.SOCKET)
        expect(findings, "io_uring", "ok", "usable")
        for check in ("device files", "driver", "persistence"):
            expect(findings, check, "ok", "not needed")
        if os.geteuid() == 0:
            check_other_user(folder)
        supervisor.end(signal.SIGINT)
        findings = doctor("--driver=sim", status=1)
        expect(findings, "control socket", "fail", "no gpu-broker answers")
        expect(findings, "guests' socket", "fail", "there is no")
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
