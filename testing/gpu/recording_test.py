#!/usr/bin/python3
"""How recordings are read and held against tables; and the recorder itself, on calls that no driver answers."""

import array
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import recording  # noqa: E402

BASE = '''
# a comment with { braces }
driver_version: "1.0"
escape { name: "CONTROL" number: 0x2a size: 32 shape: SHAPE_CONTROL client: 0 }
escape { name: "CARD_INFO" number: 0xc8 size: 72 shape: SHAPE_ARRAY }
escape { name: "ALLOC" number: 0x2b size: 32 }
escape { name: "ALLOC" number: 0x2b size: 48 pointer { offset: 24 size_max: 7 } }  # two forms
control { name: "OLD" number: 0x101 size: 8 client: [0, 4] source: "a \\"word\\"" }
control { name: "GONE" number: 0x102 size: 8 }
control { name: "SECRET" number: 0x103 size: 8 withheld: "for graphics" }
class { name: "DEVICE" number: 0x80 size: 56 }
uvm { name: "FREE" number: 0x22 size: 24 status: 16 }
gss_legacy { size_max: 100 }
'''
DELTA = '''
driver_version: "2.0"
base: "1.0"
removed_control: [0x102]
control { name: "OLD" number: 0x101 size: 16 }
# the end is a comment'''
TEXTS = {"1.0": BASE, "2.0": DELTA}


def lack(version, *call):
    return recording.verdict(recording.Call(*call, "0x0"), recording.read_table(version, TEXTS.get))


class Tables(unittest.TestCase):
    def test_what_is_listed_lacks_nothing(self):
        for call in (("escape", 0x2a, 32), ("escape", 0x2b, 32), ("escape", 0x2b, 48), ("control", 0x101, 8),
                     ("class", 0x80, 0), ("class", 0x80, 56), ("uvm", 0x22, 0)):
            self.assertIsNone(lack("1.0", *call), call)

    def test_arrays_may_have_any_multiple(self):
        self.assertIsNone(lack("1.0", "escape", 0xc8, 72 * 32))
        self.assertIn("another size", lack("1.0", "escape", 0xc8, 73))
        self.assertIn("another size", lack("1.0", "escape", 0xc8, 0))

    def test_what_is_not_listed_is_found(self):
        for call in (("escape", 0xff, 8), ("control", 0x104, 8), ("class", 0x81, 0), ("uvm", 0x23, 0)):
            self.assertEqual(lack("1.0", *call), "not in the table")

    def test_another_size_is_found(self):
        self.assertEqual(lack("1.0", "control", 0x101, 12), "of another size (OLD: 8 in the table)")
        self.assertIn("another size", lack("1.0", "class", 0x80, 64))

    def test_what_guests_do_not_get_is_found(self):
        self.assertEqual(lack("1.0", "control", 0x103, 8), "withheld (SECRET: for graphics)")

    def test_controls_of_the_firmware_have_any_size_up_to_a_bound(self):
        self.assertIsNone(lack("1.0", "control", 0x20808001, 99))
        self.assertIn("another size", lack("1.0", "control", 0x20808001, 101))
        self.assertEqual(lack("1.0", "control", 0x2080c001, 99), "not in the table")

    def test_a_table_told_as_differences(self):
        self.assertIsNone(lack("2.0", "control", 0x101, 16))
        self.assertIn("another size", lack("2.0", "control", 0x101, 8))
        self.assertEqual(lack("2.0", "control", 0x102, 8), "not in the table")
        self.assertIsNone(lack("2.0", "escape", 0x2a, 32))
        self.assertIsNone(lack("1.0", "control", 0x102, 8))

    def test_the_project_s_own_tables_are_read(self):
        for version, path in recording.tables().items():
            specs = recording.read_table(version, lambda one: recording.read(recording.tables()[one]))
            self.assertGreater(len(specs), 100, path)
            self.assertIn(("control", 0x214), specs)

    def test_which_table(self):
        versions = ["535.261.03", "580.95.05", "580.126.20"]
        self.assertEqual(recording.choose_table(versions, "580.95.05"), "580.95.05")
        self.assertEqual(recording.choose_table(versions, "580.105.08"), "580.95.05")
        self.assertEqual(recording.choose_table(versions, "999.1"), "580.126.20")
        self.assertEqual(recording.choose_table(versions, "470.1"), "535.261.03")


class Recordings(unittest.TestCase):
    def test_lines(self):
        text = ("7 nvidiactl escape 0x2a 32 0x56 0 control 0x101 8\n"
                "7 nvidia-uvm uvm 0x22 0 0x0 0\n"
                "7 nvidiactl escape 0xc8 72 - 22\n"
                "7 nvidiactl esca")
        self.assertEqual(recording.read_recording(text), [
            ("escape", 0x2a, 32, "0x56"), ("control", 0x101, 8, "0x56"), ("uvm", 0x22, 0, "0x0"), ("escape", 0xc8, 72, "-")])

    def test_each_difference_is_said_once_with_all_answers(self):
        calls = [recording.Call("control", 0x999, 4, status) for status in ("0x0", "0x56", "0x0")]
        self.assertEqual(recording.compare(calls, {}),
                         ["not in the table: control 0x999, 4 bytes, answered 0x0 2 times, 0x56 1 times"])


RECORDER = os.path.abspath("testing/gpu/record.so")


def request(number, size):
    """An ioctl of the NVIDIA driver's type that reads and writes."""
    return 3 << 30 | size << 16 | ord("F") << 8 | number


def try_ioctl(file, number, params):
    try:
        fcntl.ioctl(file, number, params)
    except OSError:
        pass  # nobody here answers it


def make_calls():
    """In a process with the recorder in front: calls on files that are no devices."""
    null, pair = os.open("/dev/null", os.O_RDWR), socket.socketpair()
    control = bytearray(struct.pack("<IIIIQII", 1, 2, 0x20800110, 0, 0, 68, 0x56))
    try_ioctl(null, request(0x2a, 32), control)
    try_ioctl(null, request(0x2b, 48), bytearray(struct.pack("<IIIIQQIIII", 1, 2, 3, 0x80, 0, 0, 56, 0, 0x1f, 0)))
    inner = array.array("B", control)
    try_ioctl(null, request(0xd3, 16), bytearray(struct.pack("<IIQ", 0x2a, 32, inner.buffer_info()[0])))
    try_ioctl(pair[0].fileno(), 0x22, bytearray(64))
    try_ioctl(null, 0x22, bytearray(64))  # not UVM's file
    try_ioctl(null, 0x5413, bytearray(64))  # TIOCGWINSZ


class Recorder(unittest.TestCase):
    def test_what_it_writes_down(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "recording")
            subprocess.run([sys.executable, "-B", os.path.abspath(__file__), "--calls"], check=True,
                           env={**os.environ, "LD_PRELOAD": RECORDER, "NVSHIM_RECORD": path})
            lines = [line.split(maxsplit=1)[1] for line in recording.read(path).splitlines()]
        self.assertEqual(lines, [
            "null escape 0x2a 32 0x56 25 control 0x20800110 68",
            "null escape 0x2b 48 0x1f 25 class 0x80 56",
            "null escape 0x2a 32 0x56 25 control 0x20800110 68",
            "socket uvm 0x22 0 - 25",
        ])


if __name__ == "__main__":
    if sys.argv[1:] == ["--calls"]:
        make_calls()
    else:
        unittest.main()
