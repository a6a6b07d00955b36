"""What the kit makes of outputs: masks, outcomes, figures, and the table. Pure: nothing is read or started here."""

import re

EXIT_NOT_APPLICABLE = 77

# One line of a program's standard error.
TIMING = re.compile(r"^timing (\S+) (\S+) (\S+)$", re.MULTILINE)

PASS, FAIL, SKIP, KNOWN, NATIVE = "pass", "FAIL", "skip", "known", "native"
REASON_LENGTH_MAX = 110  # in the table; all of it is in results.json

# What the outcomes mean, in the order in which the last line counts them.
MEANING = {
    PASS: "passed",
    FAIL: "failed",
    NATIVE: "failed without the broker as well",
    KNOWN: "failed as the simulator makes it",
    SKIP: "skipped",
}


class Run:
    """How one program ended: its status (128+n for signal n, None for a time-out), seconds and output."""

    def __init__(self, status, seconds, output, errors):
        self.status, self.seconds, self.output, self.errors = status, seconds, output, errors

    def good(self):
        return self.status == 0

    def reason(self):
        """Why it is not good, in one line."""
        if self.status is None:
            return "timed out"
        if self.status == EXIT_NOT_APPLICABLE:
            found = re.search(r"^not applicable: (.*)$", self.output, re.MULTILINE)
            return found[1] if found else "not applicable, no reason given"
        lines = [line for line in self.errors.splitlines() if line.strip() and not TIMING.match(line)]
        return f"status {self.status}" + (f": {lines[-1].strip()}" if lines else "")


def masked(text, masks):
    """`text` with every match of the patterns of `masks`, (pattern, replacement), replaced."""
    for pattern, replacement in masks:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def timings(text):
    """{name: (value, unit)} of the timing lines in `text`."""
    return {name: (float(value), unit) for name, value, unit in TIMING.findall(text)}


def first_difference(left, right):
    """Where two texts differ: 'line 3: "a" instead of "b"'; None when they are equal."""
    if left == right:
        return None
    left_lines, right_lines = left.splitlines(), right.splitlines()
    for number, (one, other) in enumerate(zip(left_lines, right_lines), 1):
        if one != other:
            return f'line {number} is "{other[:60]}" through the broker, "{one[:60]}" natively'
    if len(left_lines) != len(right_lines):
        return f"{len(right_lines)} lines through the broker, {len(left_lines)} natively"
    return "the ends of lines differ"


def judge(native, brokered, masks, complaint, fails_in_sim):
    """(outcome, reason, equal) of one program.

    native: a Run, or None where there is no native run. complaint: what the broker has to be blamed for, or None.
    fails_in_sim: why the simulator lets it fail; None on hardware, and where the simulator can do it."""
    if native is not None and native.status == EXIT_NOT_APPLICABLE and brokered.status == EXIT_NOT_APPLICABLE:
        return SKIP, native.reason(), None
    if native is None and brokered.status == EXIT_NOT_APPLICABLE:
        return SKIP, brokered.reason(), None
    if fails_in_sim is not None:
        if brokered.good():
            return FAIL, f"works, and should not: {fails_in_sim}", None
        return KNOWN, f"{fails_in_sim} ({brokered.reason()})", None
    if native is not None and not native.good():
        if brokered.good():
            return FAIL, f"natively {native.reason()}, through the broker it works", False
        return NATIVE, f"natively {native.reason()}; through the broker {brokered.reason()}", None
    if not brokered.good():
        return FAIL, brokered.reason(), None
    if native is not None:
        difference = first_difference(masked(native.output, masks), masked(brokered.output, masks))
        if difference is not None:
            return FAIL, difference, False
    if complaint is not None:
        return FAIL, complaint, None if native is None else True
    return PASS, "", None if native is None else True


def ratio(native, brokered):
    return f"{brokered / native:.2f}" if native and brokered is not None else "-"


def seconds(value):
    return "-" if value is None else f"{value:.2f}"


def columns(rows):
    """Lines with the cells of `rows` below each other: the first and the last column to the left, others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if i in (0, last) else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return lines


def table(results):
    """The one table: a line for each program."""
    rows = [("program", "native s", "brokered s", "ratio", "equal?", "ioctls", "refused", "outcome")]
    for one in results:
        equal = {True: "yes", False: "NO", None: "-"}[one["equal"]]
        counts = ["-" if one[key] is None else str(one[key]) for key in ("ioctls", "refused")]
        reason = one["reason"].replace("\n", " ")
        reason = reason if len(reason) <= REASON_LENGTH_MAX else reason[:REASON_LENGTH_MAX] + " ..."
        outcome = one["outcome"] + (f": {reason}" if reason else "")
        rows.append((one["program"], seconds(one["native_s"]), seconds(one["brokered_s"]),
                     ratio(one["native_s"], one["brokered_s"]), equal, *counts, outcome))
    return columns(rows)


def figures(results):
    """A line for each timing that a program printed; nothing when none did."""
    rows = []
    for one in results:
        for name, (native, brokered, unit) in one["timings"].items():
            cells = ["-" if value is None else f"{value:.4g}" for value in (native, brokered)]
            rows.append((f"{one['program']} {name}", *cells, ratio(native, brokered), unit))
    return columns([("figure", "native", "brokered", "ratio", "unit"), *rows]) if rows else []


def merge_timings(native, brokered):
    """{name: (native value or None, brokered value or None, unit)}."""
    merged = {}
    for name in [*native, *(name for name in brokered if name not in native)]:
        unit = (native.get(name) or brokered.get(name))[1]
        merged[name] = (native.get(name, (None,))[0], brokered.get(name, (None,))[0], unit)
    return merged


def totals(results):
    """'12 passed, 0 failed, ...': counts that are zero are left out, but for the first two."""
    counts = {outcome: sum(one["outcome"] == outcome for one in results) for outcome in MEANING}
    return ", ".join(f"{counts[outcome]} {meaning}" for outcome, meaning in MEANING.items()
                     if counts[outcome] or outcome in (PASS, FAIL))
