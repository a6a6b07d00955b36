#!/usr/bin/python3
"""Law: measure says what a compiler says about the headers, and names what they do not have."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

MEASURE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "measure")
HEAD = "kind,number,name,struct,size,fields\n"
CTRL = """
#define NV9999_CTRL_CMD_LIST 0x99990101
#define NV9999_CTRL_CMD_CLIENTS (0x99990102)
typedef struct { unsigned first, count; void *list __attribute__((aligned(8))); unsigned hClient; } LIST_PARAMS;
typedef struct { unsigned long long before; unsigned hClients[3]; int fd; struct { char pad[4]; int in; } deep[2]; }
    CLIENTS_PARAMS;
"""


class MeasureTest(unittest.TestCase):
    def measure(self, *rows):
        with tempfile.TemporaryDirectory() as tree:
            folder = os.path.join(tree, "src/common/sdk/nvidia/inc/ctrl")
            os.makedirs(folder)
            with open(os.path.join(folder, "ctrl9999.h"), "w", encoding="utf-8") as file:
                file.write(CTRL)
            facts = os.path.join(tree, "facts.csv")
            with open(facts, "w", encoding="utf-8") as file:
                file.write(HEAD + "".join(row + "\n" for row in rows))
            result = subprocess.run([MEASURE, tree, facts], capture_output=True, text=True, check=True)
        self.assertTrue(result.stdout.startswith(HEAD))
        return result.stdout[len(HEAD):].splitlines(), result.stderr

    def test_numbers_sizes_and_offsets_come_from_the_headers(self):
        rows, complaints = self.measure(
            "control,0x00000000,NV9999_CTRL_CMD_LIST,LIST_PARAMS,0,client:hClient@0 buffer:list@0=count@0*8",
            "control,0x00000000,NV9999_CTRL_CMD_CLIENTS,CLIENTS_PARAMS,1,client:hClients@7 fd:fd@0:8 object:deep[].in@0")
        self.assertEqual(rows, [
            "control,0x99990101,NV9999_CTRL_CMD_LIST,LIST_PARAMS,24,client:hClient@16 buffer:list@8=count@4*8",
            "control,0x99990102,NV9999_CTRL_CMD_CLIENTS,CLIENTS_PARAMS,40,"
            "client:hClients@8*3 fd:fd@20:8 object:deep[].in@28"])
        self.assertEqual(complaints, "")

    def test_what_is_gone_is_left_out_and_named(self):
        rows, complaints = self.measure(
            "control,0x99990103,NV9999_CTRL_CMD_GONE,LIST_PARAMS,24,",
            "control,0x99990101,NV9999_CTRL_CMD_LIST,GONE_PARAMS,24,",
            "control,0x99990101,NV9999_CTRL_CMD_LIST,LIST_PARAMS,24,client:hClient@16 fd:gone@0")
        self.assertEqual(rows, ["control,0x99990101,NV9999_CTRL_CMD_LIST,LIST_PARAMS,24,client:hClient@16"])
        for what in ["NV9999_CTRL_CMD_GONE: no such number", "no struct GONE_PARAMS", "no field gone of LIST_PARAMS"]:
            self.assertIn(what, complaints)

    def test_a_number_that_no_header_knows_is_kept(self):
        row = "control,0x99998101,UNNAMED_0x99998101,observed,12,"
        self.assertEqual(self.measure(row)[0], [row])


if __name__ == "__main__":
    if shutil.which("cc") is None:
        print("SKIPPED: no C compiler here")
        sys.exit(0)
    unittest.main()
