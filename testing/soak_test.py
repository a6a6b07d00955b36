#!/usr/bin/python3
"""What testing/soak calls growth, on made-up samples."""

import importlib.machinery
import importlib.util
import os
import random
import sys
import unittest

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
PATH = os.path.join(os.path.dirname(os.path.realpath(__file__)), "soak")
loader = importlib.machinery.SourceFileLoader("soak", PATH)
soak = importlib.util.module_from_spec(importlib.util.spec_from_loader("soak", loader))
loader.exec_module(soak)

FLAT = {"fds": 5, "maps": 35, "threads": 2, "rss_kib": 6500, "anonymous_kib": 1000, "shmem_kib": 0}


def series(count=60, **changes):
    """Samples that hold FLAT and what `changes`, functions of the index, add to it."""
    return [{"time_s": 5.0 * index, **{name: value + changes.get(name, lambda _: 0)(index)
                                       for name, value in FLAT.items()}} for index in range(count)]


class Verdict(unittest.TestCase):
    def test_what_stays_the_same_has_not_grown(self):
        self.assertEqual(soak.verdict(series()), [])

    def test_few_samples_are_judged_as_well(self):
        for count in (1, 2, 3):
            self.assertEqual(soak.verdict(series(count)), [])

    def test_noise_is_not_growth(self):
        noise = random.Random(1)
        self.assertEqual(soak.verdict(series(anonymous_kib=lambda _: noise.choice([0, 40, 130]))), [])

    def test_the_start_is_left_out(self):
        self.assertEqual(soak.verdict(series(anonymous_kib=lambda index: 0 if index < 6 else 2000, threads=lambda index:
                                             0 if index < 6 else 1)), [])

    def test_one_burst_is_not_growth(self):
        self.assertEqual(soak.verdict(series(fds=lambda index: 70 if index == 59 else 0)), [])

    def test_a_steady_leak_is_found_in_each_quantity(self):
        for name, each in (("fds", 1), ("maps", 1), ("threads", 1), ("shmem_kib", 4), ("anonymous_kib", 8),
                           ("rss_kib", 40)):
            findings = soak.verdict(series(**{name: lambda index, each=each: index * each}))
            self.assertEqual([finding.split()[0] for finding in findings], [name])

    def test_one_mapping_that_stays_is_found(self):
        self.assertEqual(len(soak.verdict(series(maps=lambda index: index > 30))), 1)


if __name__ == "__main__":
    unittest.main()
