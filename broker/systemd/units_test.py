#!/usr/bin/python3
"""Law: systemd finds nothing wrong in the units, and services are confined: an exposure of at most 2.0 of 10."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
UNITS = ["gpu-broker.service", "gpu-broker-exporter.service", "gpu-broker.socket", "gpu-broker-control.socket",
         "gpu-broker-guest@.socket"]
EXPOSURE_MAX = 20  # in tenths


def analyze(*arguments):
    result = subprocess.run(["systemd-analyze", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False)
    return result.returncode, result.stdout


def main():
    if shutil.which("systemd-analyze") is None:
        print("SKIPPED: there is no systemd-analyze")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in UNITS:
            with open(os.path.join(HERE, name), encoding="utf-8") as file:
                text = file.read()
            # The programs need not be installed.
            text = re.sub("^(Exec[A-Z][a-z]+)=/usr/s?bin/gpu-broker.*$", r"\1=/bin/true", text, flags=re.MULTILINE)
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        # A template is looked at as one of its instances.
        paths = [os.path.join(folder, name.replace("@", "@a")) for name in UNITS]
        shutil.copy(os.path.join(folder, UNITS[-1]), paths[-1])
        status, complaints = analyze("verify", "--man=no", *paths)
        # About other units of the machine it complains as well.
        complaints = "\n".join(line for line in complaints.splitlines() if "gpu-broker" in line)
        if complaints:
            sys.exit(f"FAILED: systemd-analyze verify ({status}): {complaints}")
        for path in (path for path in paths if path.endswith(".service")):
            status, report = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", path)
            print(report)
            if status != 0:
                sys.exit(f"FAILED: the exposure of {os.path.basename(path)} is above {EXPOSURE_MAX / 10}")


if __name__ == "__main__":
    main()
