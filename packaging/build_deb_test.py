#!/usr/bin/python3
"""Laws of build_deb.py: the same contents give the same bytes, whatever times and modes the inputs have; what lies in /etc is
the administrator's; programs that need more than libc, and versions that the changelog does not have, are refused."""

import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
CONTROL = """Package: a
Version: ${version}
Architecture: amd64
Maintainer: nobody <nobody@example.org>
Depends: ${libc}
Installed-Size: ${installed}
Description: nothing
"""
CHANGELOG = """a (1.2) bookworm; urgency=medium

  * Something.

 -- nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
"""


class BuildDebTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.write("control", CONTROL)
        self.write("changelog", CHANGELOG)
        self.write("copyright", "nobody's\n")

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def build(self, *arguments, output="a.deb", version="1.2", umask=0o022):
        return subprocess.run(
            [os.path.join(HERE, "build_deb.py"), "--output", self.path(output), "--version", version,
             "--changelog", self.path("changelog"), "--copyright", self.path("copyright"),
             "--control", self.path("control"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, umask=umask, check=False)

    def compile(self, name, *flags):
        subprocess.run(["gcc", "-x", "c", "-", "-g", "-o", self.path(name), *flags], input="int main() {}", text=True,
                       check=True)
        return self.path(name)

    def field(self, name):
        return subprocess.run(["dpkg-deb", "--field", self.path("a.deb"), name], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.strip()

    def test_same_contents_same_bytes(self):
        program = self.compile("program")
        files = ["--file", f"usr/bin/program={program}", "--file", f"etc/a/b={self.path('copyright')}",
                 "--file", f"usr/share/man/man1/a.1={self.path('copyright')}", "--link", "usr/bin/b=program"]
        self.assertEqual(self.build(*files).returncode, 0)
        os.utime(program, (1, 1))
        os.chmod(self.path("copyright"), 0o400)
        self.assertEqual(self.build(*files, output="b.deb", umask=0o077).returncode, 0)
        with open(self.path("a.deb"), "rb") as first, open(self.path("b.deb"), "rb") as second:
            self.assertEqual(first.read(), second.read())
        listing = subprocess.run(["dpkg-deb", "--contents", self.path("a.deb")], stdout=subprocess.PIPE, text=True,
                                 check=True).stdout
        self.assertRegex(listing, r"-rwxr-xr-x root/root .* \./usr/bin/program\n")
        self.assertRegex(listing, r"-rw-r--r-- root/root .* \./etc/a/b\n")
        self.assertRegex(listing, r"\./usr/share/man/man1/a\.1\.gz\n")
        self.assertRegex(listing, r"\./usr/bin/b -> program\n")
        self.assertEqual({line.split()[3] for line in listing.splitlines()}, {"2026-01-01"})
        conffiles = subprocess.run(["dpkg-deb", "--info", self.path("a.deb"), "conffiles"], stdout=subprocess.PIPE,
                                   text=True, check=True).stdout
        self.assertEqual(conffiles, "/etc/a/b\n")
        self.assertRegex(self.field("Depends"), r"^libc6 \(>= 2\.\d+\)$")

    def test_more_than_libc_is_refused(self):
        said = self.build("--file", f"usr/bin/a={self.compile('a', '-Wl,--no-as-needed', '-lstdc++')}")
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("needs libstdc++.so.6", said.stdout)

    def test_another_version_than_the_changelogs_is_refused(self):
        said = self.build(version="1.3")
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("begins with version 1.2", said.stdout)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main()
