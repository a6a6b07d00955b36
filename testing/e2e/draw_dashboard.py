#!/usr/bin/python3
"""Draws docs/dashboard.png: the panels of broker/exporter/grafana.json as Grafana lays them out, with what a real Prometheus
answers to their queries while three guests use a simulated GPU for a minute and a half. Debian has no Grafana.

usage: NVSHIM_EXPORTER=bazel-bin/broker/exporter/gpu-broker-exporter testing/with-broker --no-clients -- \\
           testing/e2e/draw_dashboard.py docs/dashboard.png"""

import math
import os
import re
import shutil
import sys
import tempfile
import threading
import time

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402
import monitors  # noqa: E402
import supervisors  # noqa: E402
import takers  # noqa: E402

GIB = 1 << 30
SECONDS = 90
STEP_S = 0.5
QUOTAS_GIB = {"training": 48, "inference": 20, "notebook": 8}

COLUMNS, ROW_INCHES, WIDTH_INCHES = 24, 0.3, 15
BACKGROUND, PANEL, INK, LINES = "#111217", "#181b1f", "#ccccdc", "#2c3235"
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#f2495c")


# ---- What there is to see ----------------------------------------------------------------------------------------


class Load(threading.Thread):
    """A guest with `processes`, each of which takes memory in `chunks` steps, makes `objects` small objects a step and asks
    `wrong` questions that are refused, gives all back after `rounds` steps, and begins again."""

    def __init__(self, supervisor, name, *, processes, objects, wrong, chunk_gib, chunks, rounds):
        super().__init__(daemon=True)
        self.takers = [takers.Taker(supervisor.socket_of(name)) for _ in range(processes)]
        self.every_step = (f"objects {objects}", f"calls {wrong}")
        self.chunk, self.chunks, self.rounds = chunk_gib * GIB, chunks, rounds
        self.end = time.monotonic() + SECONDS

    def run(self):
        for taker in self.takers:
            taker.take("files 1")
        step = 0
        while time.monotonic() < self.end:
            for taker in self.takers:
                position = step % self.rounds
                if position == self.rounds - 1:
                    taker.ask("free")
                elif position < self.chunks:
                    taker.ask(f"video {self.chunk}")
                    taker.ask(f"pinned {self.chunk // 64}")
                for command in self.every_step:
                    taker.ask(command)
            step += 1
            time.sleep(STEP_S)
        for taker in self.takers:
            taker.finish()


def watch(folder):
    """Lets the guests run, and returns what Prometheus says of each query: {(panel id, refId): series}."""
    flags = [f"--guest-mem-quota={name}={size}GiB" for name, size in QUOTAS_GIB.items()]
    supervisor = supervisors.Supervisor(folder, QUOTAS_GIB, *flags)
    prometheus = monitors.Prometheus(folder, monitors.Exporter(folder))
    begin = time.time()
    loads = [Load(supervisor, "training", processes=4, objects=40, wrong=0, chunk_gib=2, chunks=6, rounds=100),
             Load(supervisor, "inference", processes=2, objects=90, wrong=1, chunk_gib=1, chunks=8, rounds=24),
             Load(supervisor, "notebook", processes=1, objects=10, wrong=4, chunk_gib=2, chunks=6, rounds=40)]
    for load in loads:
        load.start()
    for load in loads:
        load.join()
    end = time.time() - 2
    return {(panel["id"], target["refId"]): prometheus.query_range(target["expr"], begin + monitors.RATE_S, end, STEP_S)
            for panel, target in monitors.dashboard_queries()}


# ---- How it looks ------------------------------------------------------------------------------------------------


def text_of(value, unit):
    """Of bytes `value` is in GiB."""
    if unit == "bytes":
        return f"{value:.3g} GiB"
    if unit == "percentunit":
        return f"{value:.0%}"
    return f"{value:.3g} /s" if unit == "reqps" else f"{value:.0f}"


def legend_of(target, labels):
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), target["legendFormat"])


def draw_stat(axes, panel, target, series):
    labels, _, values = series[0]
    if panel.get("options", {}).get("textMode") == "name":
        text = legend_of(target, labels)
    else:
        [mapping] = panel["fieldConfig"]["defaults"].get("mappings", [{"options": {}}])
        text = mapping["options"].get(str(int(values[-1])), {}).get("text", text_of(values[-1], "none"))
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=26 if len(text) < 8 else 16, color=COLOURS[0],
              transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def with_gaps(times, values):
    """Where there was no sample for a while, a line that is drawn through the points has none either."""
    pairs = []
    for when, value in zip(times, values):
        if pairs and when - pairs[-1][0] > 1.5 * STEP_S:
            pairs.append((when - STEP_S, math.nan))
        pairs.append((when, value))
    return tuple(zip(*pairs))


def draw_lines(axes, panel, answers, begin):
    defaults = panel["fieldConfig"]["defaults"]
    scale = GIB if defaults["unit"] == "bytes" else 1
    lines = [(legend_of(target, labels), *with_gaps([when - begin for when in times], [value / scale for value in values]))
             for target, series in answers for labels, times, values in series]
    if "stacking" in defaults.get("custom", {}):
        times = sorted({when for _, line_times, _ in lines for when in line_times})
        rows = [[dict(zip(line_times, values)).get(when, 0) for when in times] for _, line_times, values in lines]
        axes.stackplot(times, rows, labels=[legend for legend, _, _ in lines], colors=COLOURS, alpha=0.6, linewidth=1)
    else:
        for (legend, times, values), colour in zip(lines, COLOURS):
            axes.plot(times, values, label=legend, color=colour, linewidth=1.5)
    axes.margins(y=0.1)
    axes.set_ylim(bottom=defaults.get("min", 0), top=defaults["max"] * 1.05 if "max" in defaults else None)
    axes.set_xlim(0, SECONDS)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=defaults["unit"] == "none"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text_of(value, defaults["unit"])))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.set_axisbelow(True)
    axes.grid(color=LINES, linewidth=0.6)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=3, fontsize=8, frameon=False, labelcolor=INK)


def draw(answers, path):
    panels = {}
    for panel, target in monitors.dashboard_queries():
        panels.setdefault(panel["id"], (panel, []))[1].append((target, answers[panel["id"], target["refId"]]))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _ in panels.values())
    begin = min(times[0] for series in answers.values() for _, times, _ in series) - monitors.RATE_S
    figure = pyplot.figure(figsize=(WIDTH_INCHES, rows * ROW_INCHES), facecolor=BACKGROUND)
    for panel, target_answers in panels.values():
        place = panel["gridPos"]
        x, y = place["x"] / COLUMNS, 1 - (place["y"] + place["h"]) / rows
        width, height = place["w"] / COLUMNS, place["h"] / rows
        figure.add_artist(pyplot.Rectangle((x + 0.003, y + 0.004), width - 0.006, height - 0.008, color=PANEL, zorder=-1))
        is_stat = panel["type"] == "stat"
        axes = figure.add_axes((x + 0.01, y + 0.01, width - 0.02, height - 0.035) if is_stat else
                               (x + 0.055, y + 0.045, width - 0.07, height - 0.08), facecolor=PANEL)
        figure.text(x + 0.01, y + height - 0.008, panel["title"], color=INK, fontsize=10, va="top", weight="bold")
        for spine in axes.spines.values():
            spine.set_visible(False)
        if is_stat:
            draw_stat(axes, panel, *target_answers[0])
        else:
            draw_lines(axes, panel, target_answers, begin)
    figure.savefig(path, dpi=90, facecolor=BACKGROUND)


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-dashboard-", dir="/tmp")
    try:
        draw(watch(folder), sys.argv[1])
    finally:
        monitors.clean_up()
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
