#!/usr/bin/python3
"""Law: a link in a document leads somewhere. Checks relative links of all *.md, with their #fragments, and that every
page below docs/ can be reached from README.md. Links into the web are not followed.
"""

import os
import re
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import sources  # noqa: E402

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
EXTERNAL = re.compile(r"^[a-z]+:")


def prose(text):
    """The text without code blocks and code spans, in which nothing is a link."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def slugs(text):
    """The fragments of the headings, as code forges make them."""
    found = set()
    for heading in re.findall(r"^#+\s+(.*)$", text, flags=re.MULTILINE):
        plain = re.sub(r"[`*]", "", heading).strip().lower()
        found.add(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain)))
    return found


def links_of(path, text):
    """(target path or None for this file, fragment or None) of each relative link."""
    for link in LINK.findall(prose(text)):
        if EXTERNAL.match(link):
            continue
        target, _, fragment = link.partition("#")
        resolved = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        yield link, resolved, fragment


def main():
    pages = sources.files(".md")
    texts = {path: sources.read(path) for path in pages}
    findings = []
    reached = set()
    waiting = ["README.md"]
    for path, text in texts.items():
        for link, target, fragment in links_of(path, text):
            if not os.path.exists(os.path.join(sources.root(), target)):
                findings.append(f"{path}: {link} leads nowhere")
            elif fragment and target in texts and fragment not in slugs(texts[target]):
                findings.append(f"{path}: {link}: no such heading")
    while waiting:
        path = waiting.pop()
        if path in reached or path not in texts:
            continue
        reached.add(path)
        waiting += [target for _, target, _ in links_of(path, texts[path])]
    findings += [f"{path}: no page that starts at README.md leads here"
                 for path in pages if path.startswith("docs/") and path not in reached]
    sources.report("docs_links", findings, len(pages))


if __name__ == "__main__":
    main()
