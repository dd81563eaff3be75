# Copyright (C) Conduit for NGINX authors

"""The report's plots, made by gnuplot."""

import os
import shutil
import subprocess
from statistics import median

from .figures import cpu_ratio

HEAD = """set terminal svg size 800,420 font 'sans,12' background 'white'
set output '{file}'
set title '{title}' noenhanced
set key below Left reverse noenhanced
set grid ytics lc rgb '#dddddd'
set border 3
set tics nomirror
"""

COLORS = ["#1f6feb", "#d1242f", "#bf8700", "#8250df", "#1a7f37", "#57606a",
          "#bc4c00", "#0a7ea4", "#a0446f", "#4d7c0f", "#334155", "#b45309"]


def draw(folder, servers, workloads, runs):
    """Draws the plots.  Returns, for each workload, a list of (file, caption);
    empty if gnuplot is not installed."""
    plots = {}

    if shutil.which("gnuplot") is None:
        return plots

    names = [w.name for w in workloads]
    cpu = [n for n in names if n != "idle"]

    if bars(folder, "cpu", "CPU time of server and Redis, ratio to Conduit",
            servers, cpu, runs, cpu_ratio):
        plots.setdefault(names[0], []).append(
            ("cpu.svg", "CPU time of server and Redis, ratio to Conduit's"))

    for name in ("latency", "fanout", "tokens"):
        if name in names and percentiles(folder, name, servers, runs):
            plots.setdefault(name, []).append(
                (f"{name}.svg", "how long events took"))

    if "reload" in names and closes(folder, servers, runs):
        plots.setdefault("reload", []).append(
            ("reload.svg", "responses that ended after the reload"))

    return plots


def gnuplot(folder, name, title, text):
    file = os.path.join(folder, f"{name}.svg")
    done = subprocess.run(
        ["gnuplot"], input=HEAD.format(file=file, title=title) + text,
        text=True, check=False, stderr=subprocess.PIPE)

    if done.returncode:
        print(f"bench: gnuplot: {done.stderr.strip()}")

    return done.returncode == 0


def block(name, rows):
    """A block of data in a gnuplot script."""
    return f"${name} << END\n" + "".join(
        " ".join(map(str, row)) + "\n" for row in rows) + "END\n"


def color(servers, cls):
    return COLORS[servers.index(cls) % len(COLORS)]


def label(cls):
    return cls.label.replace("`", "").replace("'", "")


def bars(folder, name, title, servers, names, runs, ratio):
    shown = [c for c in servers if c.only is None
             and any((n, c.name) in runs for n in names)]
    rows = []

    for n in names:
        ours = runs.get((n, "conduit"), [])
        values = [ratio(runs.get((n, c.name), []), ours) for c in shown]
        if any(v is not None for v in values):
            rows.append([n] + ["?" if v is None else f"{v:.3f}"
                               for v in values])

    if not rows:
        return False

    text = block("d", rows) + """set style data histogram
set style histogram clustered gap 1
set style fill solid 0.9
set datafile missing '?'
set yrange [0:*]
set arrow from graph 0, first 1 to graph 1, first 1 nohead lc rgb '#999999'
"""
    text += "plot " + ", ".join(
        f"$d using {i + 2}:xtic(1) lc rgb '{color(servers, c)}'"
        f" title '{label(c)}'" for i, c in enumerate(shown)) + "\n"

    return gnuplot(folder, name, title, text)


def percentiles(folder, name, servers, runs):
    blocks, lines = "", []

    for i, cls in enumerate(servers):
        got = [f["times"] for f in runs.get((name, cls.name), [])
               if "times" in f]
        if not got:
            continue
        rows = [(median(t[s] for t in got) / 1000, float(s))
                for s in got[0]]
        blocks += block(f"d{i}", rows)
        lines.append(f"$d{i} using 1:2 with linespoints pt 7 ps 0.4 lw 2"
                     f" lc rgb '{color(servers, cls)}' title '{label(cls)}'")

    return bool(lines) and gnuplot(
        folder, name, f"{name}: events received within", blocks
        + "set logscale x\nset xlabel 'ms'\n"
        "set ylabel '% of events'\nset yrange [0:100]\n"
        "plot " + ", ".join(lines) + "\n")


def closes(folder, servers, runs):
    blocks, lines = "", []

    for i, cls in enumerate(servers):
        got = runs.get(("reload", cls.name))
        if not got:
            continue
        total, rows = 0, [(0, 0)]
        for slot, n in enumerate(got[0]["closes"][:100]):
            total += n
            rows.append(((slot + 1) / 10, total))
        blocks += block(f"d{i}", rows)
        lines.append(f"$d{i} using 1:2 with steps lw 2"
                     f" lc rgb '{color(servers, cls)}' title '{label(cls)}'")

    return bool(lines) and gnuplot(
        folder, "reload", "reload: responses that ended", blocks
        + "set xlabel 's after the reload'\nset yrange [0:*]\n"
        "plot " + ", ".join(lines) + "\n")
