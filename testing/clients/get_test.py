#!/usr/bin/python3
"""Laws of testing/clients/get: which lines of a machine's apt sources it takes for a Debian mirror, and what it asks
of them. Nothing here touches a network."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.abspath(__file__))
GET = os.path.join(HERE, "get")


def load():
    loader = importlib.machinery.SourceFileLoader("get", GET)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("get", loader))
    loader.exec_module(module)
    return module


get = load()


def lines(mirrors, suite="bookworm"):
    return [mirror.line(suite, "/nowhere") for mirror in mirrors]


class OneLineSources(unittest.TestCase):
    def test_a_plain_line_becomes_the_other_components_of_the_same_mirror(self):
        self.assertEqual(lines(get.parse_one_line("deb http://deb.debian.org/debian bookworm main contrib")),
                         ["deb [arch=amd64] http://deb.debian.org/debian bookworm contrib non-free"])

    def test_the_key_of_a_mirror_stays_with_it(self):
        self.assertEqual(lines(get.parse_one_line("deb [arch=i386 signed-by=/k.gpg] http://m/debian/ trixie main")),
                         ["deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm contrib non-free"])

    def test_sources_comments_media_and_other_archives_are_no_mirrors(self):
        text = """
deb-src http://a/debian bookworm main
# deb http://b/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb https://packages.example.com/apt tools-bookworm main
deb http://c/ubuntu jammy main
deb http://d/debian bookworm contrib
"""
        self.assertEqual(get.parse_one_line(text), [])

    def test_security_mirrors_are_told_apart(self):
        text = "deb http://s/debian-security bookworm-security main\ndeb http://m/debian bookworm main # main\n"
        self.assertEqual([mirror.security for mirror in get.parse_one_line(text)], [True, False])


class Deb822Sources(unittest.TestCase):
    def test_every_uri_of_a_stanza_is_a_mirror(self):
        text = """Types: deb deb-src
URIs: http://a/debian http://b/debian
Suites: bookworm bookworm-updates
Components: main
# a comment
Signed-By: /k1.gpg
 /k2.gpg
"""
        self.assertEqual(lines(get.parse_deb822(text)),
                         [f"deb [arch=amd64 signed-by=/k1.gpg,/k2.gpg] http://{host}/debian bookworm contrib non-free"
                          for host in "ab"])

    def test_a_key_written_into_the_stanza_is_written_to_a_file(self):
        text = """Types: deb
URIs: http://a/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""
        (mirror,) = get.parse_deb822(text)
        with tempfile.TemporaryDirectory() as folder:
            line = mirror.line("bookworm", folder)
            (name,) = os.listdir(folder)
            self.assertIn(f"signed-by={folder}/{name}", line)
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                self.assertEqual(file.read(), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n"
                                              "-----END PGP PUBLIC KEY BLOCK-----\n")

    def test_disabled_stanzas_and_other_types_are_no_mirrors(self):
        base = "URIs: http://a/debian\nSuites: bookworm\nComponents: main\n"
        self.assertEqual(get.parse_deb822("Types: deb\nEnabled: no\n" + base), [])
        self.assertEqual(get.parse_deb822("Types: deb-src\n" + base), [])


class Versions(unittest.TestCase):
    def test_a_package_is_found_by_the_version_that_nvidia_gave_it(self):
        with tempfile.TemporaryDirectory() as folder:
            apt = get.PrivateApt(os.path.join(folder, "apt"))
            apt.run = lambda *_: subprocess.CompletedProcess([], 0, stdout="""
 lib | 2:535.261.03-1~deb12u1 | http://m bookworm/non-free amd64 Packages
 lib | 11.8.89~11.8.0-5~deb12u1 | http://m bookworm/non-free amd64 Packages
 other | 1.0-1 | http://m bookworm/non-free amd64 Packages
""")
            self.assertEqual(apt.versions("lib"), {"535.261.03": "2:535.261.03-1~deb12u1",
                                                   "11.8.89": "11.8.89~11.8.0-5~deb12u1"})


class Command(unittest.TestCase):
    def run_get(self, *arguments):
        return subprocess.run([GET, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def test_a_folder_that_holds_the_version_is_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "VERSION"), "w", encoding="utf-8") as file:
                file.write("1.2.3\n")
            result = self.run_get("1.2.3", folder)
            self.assertEqual((result.returncode, result.stdout), (0, folder + "\n"))
            self.assertEqual(os.listdir(folder), ["VERSION"])

    def test_no_mirror_is_status_77_and_leaves_no_folder(self):
        with tempfile.TemporaryDirectory() as parent:
            folder = os.path.join(parent, "clients")
            # Port 9 of this machine: nobody listens, and no packet leaves it.
            result = self.run_get("--mirror", "http://127.0.0.1:9/debian", "535.261.03", folder)
            self.assertEqual(result.returncode, 77, result.stderr)
            self.assertIn("127.0.0.1:9", result.stderr)
            self.assertFalse(os.path.exists(folder))

    def test_a_version_that_is_none_is_refused(self):
        with tempfile.TemporaryDirectory() as parent:
            for version in ("latest", "cuda", "cuda-", "rocm-6.0"):
                self.assertEqual(self.run_get(version, os.path.join(parent, "clients")).returncode, 2, version)


if __name__ == "__main__":
    unittest.main()
