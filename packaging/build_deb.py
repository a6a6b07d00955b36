#!/usr/bin/python3
"""Lays out the files of a Debian package and has dpkg-deb pack them. Called by the rule deb (deb.bzl).

The same inputs give the same bytes: every file gets the time of the changelog's newest entry. Programs lose their debug
information; what they need of the C library is read from them and becomes the package's dependency. Manual pages and the
changelog are compressed, as Debian's policy wants it."""

import argparse
import email.utils
import gzip
import hashlib
import os
import re
import subprocess
import sys
import tempfile

# Shared objects that come with the package libc6.
OF_LIBC = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}

EXECUTABLE_FOLDERS = ("usr/bin", "usr/sbin")
MANUAL = "usr/share/man/"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def libc_wanted(path):
    """The version of the C library whose symbols `path` uses, as numbers. Everything else must be linked in."""
    dynamic = subprocess.run(["objdump", "--private-headers", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    foreign = set(re.findall(r"NEEDED +(\S+)", dynamic)) - OF_LIBC
    if foreign:
        sys.exit(f"{path} needs {', '.join(sorted(foreign))}: no package says so")
    versions = re.findall(r"\bGLIBC_(\d+(?:\.\d+)+)", dynamic)
    return max([tuple(int(part) for part in version.split(".")) for version in versions], default=(2, 2))


def time_of(changelog):
    """Of the newest entry, in seconds."""
    return int(email.utils.parsedate_to_datetime(re.search(r"^ -- .*>  (.*)$", changelog, re.MULTILINE)[1]).timestamp())


def compress(data):
    return gzip.compress(data, compresslevel=9, mtime=0)


class Package:
    def __init__(self, root):
        self.root = root
        self.libc = (0,)

    def write(self, path, data, mode=0o644):
        target = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
        os.chmod(target, mode)

    def add(self, path, source):
        with open(source, "rb") as file:
            data = file.read()
        if path.startswith(MANUAL):
            self.write(path + ".gz", compress(data))
            return
        self.write(path, data, 0o755 if os.path.dirname(path) in EXECUTABLE_FOLDERS else 0o644)
        if is_elf(source):
            self.libc = max(self.libc, libc_wanted(source))
            subprocess.run(["strip", "--strip-unneeded", "--remove-section=.comment", os.path.join(self.root, path)], check=True)

    def link(self, path, target):
        os.makedirs(os.path.join(self.root, os.path.dirname(path)), exist_ok=True)
        os.symlink(target, os.path.join(self.root, path))

    def paths(self):
        """Of all installed files, sorted."""
        found = []
        for folder, _, names in os.walk(self.root):
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in names]
        return sorted(path for path in found if not path.startswith("DEBIAN/"))

    def write_sums(self):
        sums = ""
        for path in self.paths():
            full = os.path.join(self.root, path)
            if not os.path.islink(full):
                with open(full, "rb") as file:
                    sums += f"{hashlib.md5(file.read()).hexdigest()}  {path}\n"
        self.write("DEBIAN/md5sums", sums.encode())

    def write_conffiles(self):
        settings = [f"/{path}\n" for path in self.paths() if path.startswith("etc/")]
        if settings:
            self.write("DEBIAN/conffiles", "".join(settings).encode())

    def installed_kib(self):
        """As dpkg-gencontrol counts: files by whole KiB, folders as one."""
        kib = 0
        for folder, _, names in os.walk(self.root):
            if "DEBIAN" not in os.path.relpath(folder, self.root).split(os.sep):
                kib += 1 + sum(-(-os.lstat(os.path.join(folder, name)).st_size // 1024) for name in names)
        return kib

    def set_times(self, seconds):
        for folder, _, names in os.walk(self.root):
            for path in [folder] + [os.path.join(folder, name) for name in names]:
                os.utime(path, (seconds, seconds), follow_symlinks=False)
                if os.path.isdir(path) and not os.path.islink(path):
                    os.chmod(path, 0o755)


def licences_of(linked):
    """What the documentation of the Debian packages `linked` says about their licences."""
    text = ""
    for name in linked:
        text += f"==== {name}, of Debian ====\n\n{read(f'/usr/share/doc/{name}/copyright')}\n"
    return text


def add_documents(package, name, arguments):
    changelog = read(arguments.changelog)
    newest = re.match(r"(\S+) \((\S+)\)", changelog)
    if newest[2] != arguments.version:
        sys.exit(f"{arguments.changelog} begins with version {newest[2]}: this is {arguments.version}")
    documents = f"usr/share/doc/{name}"
    package.write(f"{documents}/changelog.gz", compress(changelog.encode()))
    package.add(f"{documents}/copyright", arguments.copyright)
    if arguments.linked:
        package.write(f"{documents}/linked-in.gz", compress(licences_of(arguments.linked).encode()))
    return time_of(changelog)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--changelog", required=True)
    parser.add_argument("--copyright", required=True)
    parser.add_argument("--control", action="append", default=[], metavar="FILE")
    parser.add_argument("--file", action="append", default=[], metavar="PATH=FILE")
    parser.add_argument("--link", action="append", default=[], metavar="PATH=TARGET")
    parser.add_argument("--linked", action="append", default=[], metavar="DEBIAN-PACKAGE")
    arguments = parser.parse_args()
    controls = {os.path.basename(path): path for path in arguments.control}
    control = read(controls.pop("control"))
    name = re.search(r"^Package: (\S+)$", control, re.MULTILINE)[1]

    with tempfile.TemporaryDirectory() as root:
        package = Package(root)
        for entry in arguments.file:
            package.add(*entry.split("=", 1))
        for entry in arguments.link:
            package.link(*entry.split("=", 1))
        seconds = add_documents(package, name, arguments)
        package.write_conffiles()
        package.write_sums()
        values = {
            "${version}": arguments.version,
            "${libc}": f"libc6 (>= {'.'.join(str(part) for part in package.libc)})",
            "${installed}": str(package.installed_kib()),
        }
        for value in values.items():
            control = control.replace(*value)
        package.write("DEBIAN/control", control.encode())
        for script, path in controls.items():
            with open(path, "rb") as file:
                package.write(f"DEBIAN/{script}", file.read(), 0o644 if script == "triggers" else 0o755)
        package.set_times(seconds)
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zxz", root, arguments.output], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(seconds)})


if __name__ == "__main__":
    main()
