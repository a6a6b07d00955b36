#!/usr/bin/python3
"""Laws of the dashboard: each metric and label that it names is one that the exporter has; counters are looked at as rates;
each panel has a place of its own.

usage: grafana_test.py EXPORTER DASHBOARD"""

import json
import re
import subprocess
import sys

# A row of --list-metrics: name, type, unit, labels.
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| [^|]* \| ([^|]*) \|")


def metrics_of(exporter):
    """(type, labels) of each metric by its name."""
    rows = subprocess.run([exporter, "--list-metrics"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {match[1]: (match[2], set(re.findall(r"\w+", match[3]))) for match in map(ROW.match, rows.splitlines()) if match}


def complaints_about(target, metrics):
    expression = target["expr"]
    used = set(re.findall(r"\b(?:gpubroker|DCGM)_\w+", expression))
    if not used:
        yield f"{expression} has no metric"
    for name in sorted(used - set(metrics)):
        yield f"there is no {name}"
    labels = set().union(*(metrics[name][1] for name in used if name in metrics))
    named = re.findall(r"{{(\w+)}}", target["legendFormat"]) + re.findall(r"[{,]\s*(\w+)=", expression)
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        named += re.findall(r"\w+", grouped)
    for label in sorted(set(named) - labels):
        yield f"{expression} has no label {label}"
    for name in used & set(metrics):
        is_rate = re.search(rf"(?<!\w)rate\({name}\b", expression) is not None
        if is_rate != (metrics[name][0] == "counter"):
            yield f"{name} is a {metrics[name][0]}, and this is no way to look at one: {expression}"


def cells_of(panel):
    place = panel["gridPos"]
    return {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}


def main():
    metrics = metrics_of(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        dashboard = json.load(file)
    complaints = [f"{panel['title']}: {complaint}" for panel in dashboard["panels"] for target in panel["targets"]
                  for complaint in complaints_about(target, metrics)]
    taken = set()
    for panel in dashboard["panels"]:
        if taken & cells_of(panel) or panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24:
            complaints.append(f"{panel['title']}: lies on another panel, or beyond the 24 columns")
        taken |= cells_of(panel)
    for variable in dashboard["templating"]["list"]:
        for name, label in re.findall(r"label_values\((\w+), (\w+)\)", variable["query"]):
            if label not in metrics.get(name, ("", set()))[1]:
                complaints.append(f"variable {variable['name']}: {name} has no label {label}")
    if complaints or not metrics or len(dashboard["panels"]) < 2:
        sys.exit("FAILED: " + "\n".join(complaints or ["nothing was looked at"]))


if __name__ == "__main__":
    main()
