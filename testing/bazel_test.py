#!/usr/bin/python3
"""Runs `bazel test //...` with the given arguments and counts the outcomes.

The last line says how many tests passed, failed and were skipped. A test that cannot run where it is (no network for
NVIDIA's libraries, no clang-format) prints a line `SKIPPED: reason` into its log and passes for Bazel; here it is
counted as skipped and its reason is shown. The exit status is Bazel's.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIP_LINE = re.compile(rb"^SKIPPED: (.*)$", re.MULTILINE)


def read_events(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except FileNotFoundError:  # Bazel ended before it began
        return []


def is_test(event):
    # targetKind is "cc_test rule", "sh_test rule" and so on; "test_suite rule" is none.
    return event.get("configured", {}).get("targetKind", "").endswith("_test rule")


def skip_reason(log_uri):
    if not log_uri.startswith("file://"):
        return None
    try:
        with open(urllib.parse.unquote(log_uri[len("file://"):]), "rb") as file:
            match = SKIP_LINE.search(file.read())
    except OSError:
        return None
    return match[1].decode(errors="replace").strip() if match else None


def count(events):
    """Outcome of every test that Bazel meant to run: ({passed}, {failed}, {skipped: reason})."""
    wanted = {event["id"]["targetConfigured"]["label"] for event in events if is_test(event)}
    # Tests that a tag filter excludes are configured and then neither run nor reported.
    touched = set()
    passed = set()
    skipped = {}
    for event in events:
        identity = event.get("id", {})
        if "testSummary" in identity:
            label = identity["testSummary"]["label"]
            touched.add(label)
            if event.get("testSummary", {}).get("overallStatus") in ("PASSED", "FLAKY"):
                passed.add(label)
        elif "testResult" in identity:
            for output in event.get("testResult", {}).get("testActionOutput", []):
                reason = skip_reason(output.get("uri", "")) if output.get("name") == "test.log" else None
                if reason:
                    skipped[identity["testResult"]["label"]] = reason
        elif "targetCompleted" in identity and not event.get("completed", {}).get("success"):
            touched.add(identity["targetCompleted"]["label"])
    skipped = {label: reason for label, reason in skipped.items() if label in passed}
    return passed - set(skipped), (wanted & touched) - passed, skipped


def main():
    if sys.argv[1:2] in (["--help"], ["-h"]):
        print("usage: testing/test [BAZEL-TEST-ARGUMENT]...\n\n" + __doc__, end="")
        return 0
    arguments = sys.argv[1:]
    if not any(argument.startswith(("//", ":", "@")) for argument in arguments):
        arguments.append("//...")
    with tempfile.TemporaryDirectory() as folder:
        events_path = os.path.join(folder, "events.json")
        status = subprocess.run(
            ["bazel", "test", "--keep_going", f"--build_event_json_file={events_path}", *arguments],
            cwd=ROOT, check=False).returncode
        passed, failed, skipped = count(read_events(events_path))
    for label in sorted(failed):
        print(f"failed: {label}")
    for label, reason in sorted(skipped.items()):
        print(f"skipped: {label}: {reason}")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
