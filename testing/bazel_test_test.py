#!/usr/bin/python3
"""Laws of the line that testing/test ends with: every test Bazel meant to run is counted exactly once."""

import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bazel_test  # noqa: E402


def configured(label, kind="cc_test rule"):
    return {"id": {"targetConfigured": {"label": label}}, "configured": {"targetKind": kind}}


def summary(label, status):
    return {"id": {"testSummary": {"label": label}}, "testSummary": {"overallStatus": status}}


def completed(label, success):
    return {"id": {"targetCompleted": {"label": label}}, "completed": {"success": True} if success else {}}


def result(label, log):
    return {"id": {"testResult": {"label": label}},
            "testResult": {"testActionOutput": [{"name": "test.log", "uri": "file://" + log}]}}


class Count(unittest.TestCase):
    def test_passed_and_failed(self):
        events = [configured("//a"), configured("//b"), summary("//a", "PASSED"), summary("//b", "FAILED")]
        self.assertEqual(bazel_test.count(events), ({"//a"}, {"//b"}, {}))

    def test_timeouts_and_tests_that_do_not_build_have_failed(self):
        events = [configured("//a"), configured("//b"), summary("//a", "TIMEOUT"), completed("//b", False)]
        self.assertEqual(bazel_test.count(events), (set(), {"//a", "//b"}, {}))

    def test_a_library_that_does_not_build_is_no_test(self):
        events = [configured("//lib", "cc_library rule"), completed("//lib", False)]
        self.assertEqual(bazel_test.count(events), (set(), set(), {}))

    def test_a_filtered_test_is_not_counted(self):
        self.assertEqual(bazel_test.count([configured("//a"), completed("//a", True)]), (set(), set(), {}))

    def test_a_test_that_says_so_is_skipped_and_its_reason_kept(self):
        with tempfile.NamedTemporaryFile("w", suffix=" log") as log:
            log.write("looking\nSKIPPED: no network\n")
            log.flush()
            events = [configured("//a"), result("//a", log.name.replace(" ", "%20")), summary("//a", "PASSED")]
            self.assertEqual(bazel_test.count(events), (set(), set(), {"//a": "no network"}))

    def test_a_failed_test_is_failed_whatever_it_says(self):
        with tempfile.NamedTemporaryFile("w") as log:
            log.write("SKIPPED: no network\n")
            log.flush()
            events = [configured("//a"), result("//a", log.name), summary("//a", "FAILED")]
            self.assertEqual(bazel_test.count(events), (set(), {"//a"}, {}))


if __name__ == "__main__":
    unittest.main()
