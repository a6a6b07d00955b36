#!/usr/bin/python3
"""What the kit calls equal, failed and skipped; its table; and that the table of programs names what there is."""

import os
import re
import sys
import unittest

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import report  # noqa: E402
import table  # noqa: E402


def run(status=0, output="sum 1\n", errors="", seconds=1.0):
    return report.Run(status, seconds, output, errors)


def judge(native, brokered, masks=(), complaint=None, fails_in_sim=None):
    return report.judge(native, brokered, masks, complaint, fails_in_sim)


class Judge(unittest.TestCase):
    def test_equal_outputs_pass(self):
        self.assertEqual(judge(run(), run()), (report.PASS, "", True))

    def test_one_changed_byte_fails(self):
        outcome, reason, equal = judge(run(output="a\nsum 1\n"), run(output="a\nsum 2\n"))
        self.assertEqual((outcome, equal), (report.FAIL, False))
        self.assertEqual(reason, 'line 2 is "sum 2" through the broker, "sum 1" natively')

    def test_a_missing_line_and_a_missing_end_of_line_fail(self):
        self.assertEqual(judge(run(output="a\nb\n"), run(output="a\n"))[0], report.FAIL)
        self.assertEqual(judge(run(output="a\n"), run(output="a"))[0], report.FAIL)

    def test_errors_and_times_are_not_compared(self):
        self.assertEqual(judge(run(errors="timing a 1 s\n"), run(errors="timing a 2 s\n"))[0], report.PASS)

    def test_masks_hide_what_changes_and_nothing_else(self):
        masks = ((r"^(took) .*", r"\1 (volatile)"),)
        self.assertEqual(judge(run(output="x\ntook 1 ms\n"), run(output="x\ntook 2 ms\n"), masks)[0], report.PASS)
        self.assertEqual(judge(run(output="x\ntook 1 ms\n"), run(output="y\ntook 1 ms\n"), masks)[0], report.FAIL)

    def test_whose_failure_it_is(self):
        self.assertEqual(judge(run(), run(status=1, errors="wrong\n"))[:2], (report.FAIL, "status 1: wrong"))
        self.assertEqual(judge(run(status=1), run(status=1))[0], report.NATIVE)
        self.assertEqual(judge(run(status=1), run())[0], report.FAIL)
        self.assertEqual(judge(run(), run(status=None))[:2], (report.FAIL, "timed out"))
        self.assertEqual(judge(run(), run(status=139))[0], report.FAIL)

    def test_not_applicable(self):
        skipped = run(status=77, output="not applicable: no nvcc here\n")
        self.assertEqual(judge(skipped, skipped), (report.SKIP, "no nvcc here", None))
        self.assertEqual(judge(None, skipped), (report.SKIP, "no nvcc here", None))
        self.assertEqual(judge(run(), skipped)[0], report.FAIL)
        self.assertEqual(judge(skipped, run())[0], report.FAIL)

    def test_what_the_broker_keeps_is_a_failure(self):
        self.assertEqual(judge(run(), run(), complaint="the broker still holds 1 file")[:2],
                         (report.FAIL, "the broker still holds 1 file"))

    def test_failures_of_the_simulator_are_told_and_expected(self):
        self.assertEqual(judge(None, run(status=1, errors="801\n"), fails_in_sim="no IPC"),
                         (report.KNOWN, "no IPC (status 1: 801)", None))
        self.assertEqual(judge(None, run(), fails_in_sim="no IPC")[0], report.FAIL)

    def test_without_a_native_run_nothing_is_equal(self):
        self.assertEqual(judge(None, run()), (report.PASS, "", None))


class Output(unittest.TestCase):
    RESULT = {"program": "copy", "outcome": report.PASS, "reason": "", "equal": True, "native_s": 2.0, "brokered_s": 3.0,
              "ioctls": 7, "refused": 0, "timings": {"up": (10.0, 5.0, "GB/s"), "only": (None, 1.0, "s")}}
    OTHER = {**RESULT, "program": "a longer name", "outcome": report.FAIL, "reason": "wrong", "equal": None, "native_s": None,
             "ioctls": None, "refused": None, "timings": {}}

    def test_table(self):
        lines = report.table([self.RESULT, self.OTHER])
        self.assertEqual(lines[1].split(), ["copy", "2.00", "3.00", "1.50", "yes", "7", "0", "pass"])
        self.assertEqual(lines[2].split(), ["a", "longer", "name", "-", "3.00", "-", "-", "-", "-", "FAIL:", "wrong"])
        self.assertEqual(lines[0].index("outcome"), lines[1].index("pass"))

    def test_long_reasons_are_cut_in_the_table(self):
        self.assertLess(len(report.table([{**self.OTHER, "reason": "x" * 1000}])[1]), 200)

    def test_figures(self):
        lines = report.figures([self.RESULT, self.OTHER])
        self.assertEqual(lines[1].split(), ["copy", "up", "10", "5", "0.50", "GB/s"])
        self.assertEqual(lines[2].split(), ["copy", "only", "-", "1", "-", "s"])
        self.assertEqual(report.figures([self.OTHER]), [])

    def test_timings(self):
        self.assertEqual(report.timings("noise\ntiming up 1.5e3 GB/s\ntiming bad\n"), {"up": (1500.0, "GB/s")})
        self.assertEqual(report.merge_timings({"a": (1.0, "s")}, {"a": (2.0, "s"), "b": (3.0, "s")}),
                         {"a": (1.0, 2.0, "s"), "b": (None, 3.0, "s")})

    def test_totals(self):
        self.assertEqual(report.totals([self.RESULT, self.RESULT, self.OTHER]), "2 passed, 1 failed")
        self.assertEqual(report.totals([]), "0 passed, 0 failed")


class Programs(unittest.TestCase):
    def test_names_are_unique_and_fit_into_paths(self):
        names = [one.name for one in table.PROGRAMS]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r"^[a-z0-9_]{1,32}$")

    def test_what_they_start_is_there(self):
        for one in table.PROGRAMS:
            folder, _, file = one.command[0].rpartition("/")
            if folder == "clients":
                self.assertTrue(os.path.exists(os.path.join(HERE, "..", "clients", f"{file}.c")), one)
            elif folder:
                source = file if "." in file else f"{file}.c"
                self.assertTrue(os.path.exists(os.path.join(HERE, folder, source)), one)

    def test_masks_are_patterns(self):
        for one in table.PROGRAMS:
            for pattern, _ in one.masks:
                re.compile(pattern)

    def test_more_than_one_guest_needs_a_scenario(self):
        for one in table.PROGRAMS:
            self.assertTrue(one.guests == 1 or one.scenario, one)


if __name__ == "__main__":
    unittest.main()
