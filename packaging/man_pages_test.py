#!/usr/bin/python3
"""Law: a program's manual page has each of its options and subcommands, and describes no option that the program has not.

usage: man_pages_test.py DESCRIPTION:PAGE..., descriptions as of `PROGRAM --describe`, pages as scdoc reads them."""

import json
import re
import sys

# An option that a page describes begins a line: *--name*, *--name=*_VALUE_.
DESCRIBED = re.compile(r"^\*(--[a-z-]+)", re.MULTILINE)


def commands_of(description, path=()):
    path = (*path, description["name"])
    yield path, description
    for subcommand in description["subcommands"]:
        yield from commands_of(subcommand, path)


def findings_of(description, page):
    program = description["name"]
    known = set()
    for path, command in commands_of(description):
        words = " ".join(path[1:])
        if path[1:] and not command["subcommands"] and not re.search(rf"\*({program} )?{words}\b", page):
            yield f"the subcommand '{words}' is not in its page"
        for name in (name for option in command["options"] for name in option["names"] if name.startswith("--")):
            known.add(name)
            if not re.search(rf"\*{name}(=?\*|=)", page) and (name != "--help" or not path[1:]):
                yield f"{name} of '{' '.join(path)}' is not in its page"
    for name in sorted(set(DESCRIBED.findall(page)) - known):
        yield f"{program} has no {name}, which is in its page"


def check_itself():
    """The law can be broken both ways."""
    option = {"names": ["--a"], "description": ""}
    description = {"name": "p", "options": [option], "subcommands": []}
    assert not list(findings_of(description, "*--a*"))
    assert list(findings_of(description, "*--b*")) == ["--a of 'p' is not in its page", "p has no --b, which is in its page"]
    assert list(findings_of({**description, "subcommands": [{"name": "s", "options": [], "subcommands": []}]}, "*--a*"))


def main():
    check_itself()
    findings = []
    for argument in sys.argv[1:]:
        description_path, page_path = argument.split(":")
        with open(description_path, encoding="utf-8") as description, open(page_path, encoding="utf-8") as page:
            findings += [f"{page_path}: {one}" for one in findings_of(json.load(description), page.read())]
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
