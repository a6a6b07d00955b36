"""Holds what record.c wrote down against the tables of proto/abi: what the broker does not know, or knows otherwise, or does
not let guests have."""

import collections
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
# In the kit, and in the source tree.
TABLE_FOLDERS = [os.path.join(HERE, "abi"), os.path.join(HERE, "..", "..", "proto", "abi")]
SUFFIX = ".textproto"

KINDS = ("escape", "control", "class", "uvm")
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*|[\w.]+|[{}\[\]:,]')

# Controls that go to the firmware unread have this bit set and the next lower one clear.
GSS_LEGACY, GSS_LEGACY_ROOT = 0x8000, 0x4000

Call = collections.namedtuple("Call", "kind number size status")


# ---- Tables ----


def parse_text(text):
    """A text-format message as {field: [value, ...]}; a value is a string, or such a message."""
    return _fields(token for token in TOKEN.findall(text) if not token.startswith("#"))


def _fields(tokens):
    fields = {}
    for name in tokens:
        if name == "}":
            break
        value = next(tokens)
        value = next(tokens) if value == ":" else value
        values = fields.setdefault(name, [])
        if value == "{":
            values.append(_fields(tokens))
        elif value == "[":
            values += [item.strip('"') for item in iter(lambda: next(tokens), "]") if item != ","]
        else:
            values.append(value.strip('"'))
    return fields


def number_of(spec, field):
    return int(spec[field][0], 0) if field in spec else 0


def read_table(version, text_of):
    """{(kind, number): [spec, ...]} of a version, on top of those that it is told apart from. `text_of` gives the text of a
    version. The key (gss_legacy, 0) has the spec of controls that go to the firmware."""
    table = parse_text(text_of(version))
    specs = read_table(table["base"][0], text_of) if "base" in table else {}
    own = {}
    for kind in KINDS:
        for number in table.get(f"removed_{kind}", []):
            specs.pop((kind, int(number, 0)), None)
        for spec in table.get(kind, []):
            own.setdefault((kind, number_of(spec, "number")), []).append(spec)
    if "gss_legacy" in table:
        own["gss_legacy", 0] = table["gss_legacy"]
    specs.update(own)
    return specs


def tables():
    """{version: path} of the tables at hand."""
    for folder in TABLE_FOLDERS:
        if os.path.isdir(folder):
            return {name[:-len(SUFFIX)]: os.path.join(folder, name) for name in os.listdir(folder)
                    if name.endswith(SUFFIX) and name[0].isdigit()}
    return {}


def version_key(version):
    return tuple(int(part) for part in version.split("."))


def choose_table(versions, wanted):
    """The version whose table fits driver `wanted`: the same one, or the nearest older one, else the oldest."""
    older = [version for version in versions if version_key(version) <= version_key(wanted)]
    return max(older, key=version_key) if older else min(versions, key=version_key)


# ---- Recordings ----


def read_recording(text):
    """Calls in their order. An escape that carries a control or a class is two: itself, and what it carries."""
    calls = []
    for line in text.splitlines():
        words = line.split()
        if len(words) not in (7, 10):
            continue  # cut short by the end of the disk
        calls.append(Call(words[2], int(words[3], 16), int(words[4]), words[5]))
        if len(words) == 10:
            calls.append(Call(words[7], int(words[8], 16), int(words[9]), words[5]))
    return calls


def fits(spec, call):
    size = number_of(spec, "size")
    if call.kind == "uvm":
        return True  # the number carries no size
    if call.kind == "class":
        return call.size in (0, size)  # RM takes the class's own size; clients leave it at 0
    if "size_max" in spec:
        return call.size <= number_of(spec, "size_max")
    if spec.get("shape") == ["SHAPE_ARRAY"]:
        return call.size > 0 and call.size % size == 0
    return call.size == size


def verdict(call, specs):
    """What `specs` lack for `call`; None when nothing."""
    found = specs.get((call.kind, call.number))
    if found is None and call.kind == "control" and call.number & (GSS_LEGACY | GSS_LEGACY_ROOT) == GSS_LEGACY:
        found = specs.get(("gss_legacy", 0))
    if found is None:
        return "not in the table"
    name = found[0].get("name", ["of the firmware"])[0]
    if not any(fits(spec, call) for spec in found):
        return f"of another size ({name}: {', '.join(str(number_of(spec, 'size')) for spec in found)} in the table)"
    if all("withheld" in spec for spec in found):
        return f"withheld ({name}: {found[0]['withheld'][0]})"
    return None


def compare(calls, specs):
    """Lines that say what `specs` lack: each call once, with how often it was made and what the driver said."""
    answers = {}
    for call in calls:
        lack = verdict(call, specs)
        if lack is not None:
            answers.setdefault((lack, call.kind, call.number, call.size), collections.Counter())[call.status] += 1
    lines = []
    for (lack, kind, number, size), counts in sorted(answers.items()):
        said = ", ".join(f"{status} {count} times" for status, count in sorted(counts.items()))
        lines.append(f"{lack}: {kind} 0x{number:x}, {size} bytes, answered {said}")
    return lines


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def report(paths, driver_version):
    """(version of the table, number of calls, lines) for the recordings `paths` of a driver."""
    found = tables()
    version = choose_table(found, driver_version)
    calls = [call for path in paths for call in read_recording(read(path))]
    return version, len(calls), compare(calls, read_table(version, lambda one: read(found[one])))
