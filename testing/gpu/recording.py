"""Holds what record.c wrote down against a table of proto/abi: what the broker does not know, and what it knows otherwise."""

import collections
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
# In the kit, and in the source tree.
TABLE_FOLDERS = [os.path.join(HERE, "abi"), os.path.join(HERE, "..", "..", "proto", "abi")]
SUFFIX = ".textproto"

# One spec of a table: its kind, and on the same line its number and perhaps its size.
SPEC = re.compile(r'^(escape|control|class|uvm) \{ name: "([^"]*)" number: (\w+)((?: \w+: [\w]+| \w+ \{[^}]*\})*)')

Spec = collections.namedtuple("Spec", "name sizes array optional")


def read_table(text):
    """{(kind, number): Spec} of a text-format table."""
    specs = {}
    for line in text.splitlines():
        found = SPEC.match(line)
        if not found:
            continue
        kind, name, number, rest = found.groups()
        # Fields of inner messages are no sizes of ours.
        rest = re.sub(r"\{[^}]*\}", "", rest)
        size = re.search(r"\bsize: (\w+)", rest)
        key = kind, int(number, 0)
        sizes = (specs[key].sizes if key in specs else set()) | {int(size[1], 0) if size else 0}
        specs[key] = Spec(name, sizes, "SHAPE_ARRAY" in rest, "params_optional: true" in rest)
    return specs


def read_recording(text):
    """[(kind, number, size, status)] in the order of the calls. An escape that carries a control or a class is both."""
    calls = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 7:
            continue  # cut short by the end of the disk
        kind, number, size, status = words[2], int(words[3], 16), int(words[4]), words[5]
        calls.append((kind, number, size, status))
        if len(words) >= 10:
            calls.append((words[7], int(words[8], 16), int(words[9]), status))
    return calls


def fits(spec, kind, size):
    if kind == "uvm":
        return True  # the number carries no size
    if kind == "class":
        return size == 0 or size in spec.sizes  # RM takes the class's own size; clients leave it at 0
    if spec.array:
        return size > 0 and any(size % one == 0 for one in spec.sizes if one)
    return size in spec.sizes


def compare(calls, specs):
    """Lines that say what `specs` lack: each number once, with how often it was asked and what the driver said."""
    missing, differing = {}, {}
    for kind, number, size, status in calls:
        spec = specs.get((kind, number))
        if spec is None:
            missing.setdefault((kind, number, size), collections.Counter())[status] += 1
        elif not fits(spec, kind, size):
            differing.setdefault((kind, number, size), collections.Counter())[status] += 1
    lines = []
    for what, found in (("not in the table", missing), ("of another size", differing)):
        for (kind, number, size), answers in sorted(found.items()):
            spec = specs.get((kind, number))
            name = f" {spec.name} ({', '.join(map(str, sorted(spec.sizes)))} in the table)" if spec else ""
            said = ", ".join(f"{status} {count} times" for status, count in sorted(answers.items()))
            lines.append(f"{what}: {kind} 0x{number:x}, {size} bytes{name}: answered {said}")
    return lines


def version_key(version):
    return tuple(int(part) for part in version.split("."))


def choose_table(versions, wanted):
    """The version whose table fits driver `wanted`: the same one, or the nearest older one, else the oldest."""
    older = [version for version in versions if version_key(version) <= version_key(wanted)]
    return max(older, key=version_key) if older else min(versions, key=version_key)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def tables():
    """{version: path} of the tables at hand."""
    for folder in TABLE_FOLDERS:
        if os.path.isdir(folder):
            return {name[:-len(SUFFIX)]: os.path.join(folder, name) for name in os.listdir(folder)
                    if name.endswith(SUFFIX) and name[0].isdigit()}
    return {}


def report(paths, wanted, table=None):
    """(which table, lines) for the recordings `paths` of driver version `wanted`; `table` names another file."""
    if table is None:
        found = tables()
        table = found[choose_table(found, wanted)]
    calls = [call for path in paths for call in read_recording(read(path))]
    return os.path.basename(table), len(calls), compare(calls, read_table(read(table)))
