# Copyright (C) Conduit for NGINX authors

"""The report: tables of medians, with explanations."""

import datetime
import json
import os
import platform
import shutil
import subprocess
from statistics import median

from .figures import cpu_ratio, memory_ratio, ratios
from .growth import GROWTH, growth_section
from .plots import draw
from .processes import read
from .servers import NGINX, REDIS

# name, heading, digits, which values are better: "low", "high", or None, for
# which no ratio is shown
METRICS = {
    "rate": ("publishes/s", 0, "high"),
    "cpu": ("server, CPU µs", 1, "low"),
    "store_cpu": ("Redis, CPU µs", 1, "low"),
    "p50": ("p50, ms", 2, "low"),
    "p99": ("p99, ms", 2, "low"),
    "first50": ("first event p50, ms", 1, "low"),
    "first99": ("first event p99, ms", 1, "low"),
    "seconds": ("all done, s", 2, "low"),
    "kib": ("KiB a client", 1, "low"),
    "store_kib": ("Redis, KiB a client", 1, "low"),
    "connect": ("to connect a client, CPU µs", 1, "low"),
    "busy": ("server, CPU %", 2, None),
    "store_busy": ("Redis, CPU %", 2, None),
    "slow_kib": ("server and Redis, KiB more for a slow client", 0, "low"),
    "closed": ("responses ended", 0, None),
    "peak": ("most in 100 ms", 0, None),
    "own_cpu": ("generator, CPU µs", 1, None),
    "bytes": ("bytes", 0, "low"),
}

COLUMNS = {
    "publish": ["rate", "cpu", "store_cpu", "p50", "p99", "own_cpu"],
    "publish-many": ["rate", "cpu", "store_cpu", "p50", "p99", "own_cpu"],
    "publish-each": ["rate", "cpu", "store_cpu", "p50", "p99", "own_cpu"],
    "fanout": ["cpu", "store_cpu", "bytes", "p50", "p99", "own_cpu"],
    "channels": ["cpu", "store_cpu", "bytes", "p50", "p99", "own_cpu"],
    "latency": ["cpu", "store_cpu", "p50", "p99", "own_cpu"],
    "idle": ["kib", "store_kib", "connect", "busy", "store_busy"],
    "storm": ["seconds", "cpu", "store_cpu", "own_cpu"],
    "tokens": ["first50", "first99", "cpu", "store_cpu", "p50", "p99",
               "own_cpu"],
    "slow": ["slow_kib", "cpu", "p50", "p99", "own_cpu"],
    "reload": ["closed", "peak", "p50", "p99"],
}

# name, heading; the sum over all rounds is shown
COUNTS = {
    "failed": "not published",
    "lost": "lost",
    "twice": "twice",
    "disordered": "out of order",
    "lost_slow": "lost by the slow",
    "broken": "cut off",
    "refused": "clients refused",
    "crashes": "crashes",
}

ALWAYS = {
    "publish": ["failed"], "publish-many": ["failed"],
    "publish-each": ["failed"], "idle": [],
    "slow": ["failed", "lost", "lost_slow", "twice", "disordered"],
    "reload": ["broken", "failed", "lost", "twice", "disordered", "refused",
               "crashes"],
}
DELIVERED = ["failed", "lost", "twice", "disordered"]

HEAD = """\
Written by `{command}` on {date}, size `{size}`, {rounds}, on {machine}.
The load average was {load:.1f} before and {load_after:.1f} after.{busy}

What is compared:

{versions}

How to read the tables:

- All servers get the same load from one generator (`bench/load`), one after
  the other, with {workers} worker processes or threads each; every workload
  starts with a server without data. A figure is the median of the rounds. In
  brackets is its ratio to Conduit's: the median of the ratios of each round,
  then the smallest and the largest of them. Where a peer is ahead the figure
  is **bold**.
- CPU time is that of all processes of the server, by the scheduler's account,
  divided by publishes (`publish`) or received events (the others). Redis and
  the generator have columns of their own.
- Bytes are those of the body for each event that a client receives, compressed
  if the body is.
- Memory is the proportional set size (PSS), without the kernel's sockets.
- Every event is checked. Lost is what the server acknowledged and a client did
  not get, though it came back: after the server's `retry`, or 3 seconds
  without one, with the `Last-Event-ID` it had, if any. Not published is what
  had no reply of 2xx: in `reload` a request on a kept connection that the
  server closed at that moment is one. Cut off are responses that ended without
  their last chunk.
- A floor is no server to choose: it shows what a part of the work costs alone.
"""

BUSY = """

**The machine was busy with other work. Times and rates say nothing then;
compare ratios of CPU time, and counts.**"""

# load average before the run, per processor, above which the report warns
BUSY_LOAD = 0.5

MARK = "<!-- what follows is written by bench/run -->"


def write_report(o, servers, workloads, runs, reasons, load):
    os.makedirs(o.out, exist_ok=True)
    plots = draw(o.out, servers, [w for w in workloads if w not in GROWTH],
                 runs)
    parts = [head(o, servers, runs, load),
             summary(servers, workloads, runs, reasons)]

    for w in workloads:
        if w not in GROWTH:
            parts.append(section(o, w, servers, runs, reasons, plots))

    parts.append(growth_section(workloads, runs, o.size))

    text = "\n".join(parts)

    with open(os.path.join(o.out, "report.md"), "w", encoding="utf-8") as f:
        f.write("# Conduit for NGINX beside its peers\n\n" + text)

    with open(os.path.join(o.out, "figures.json"), "w", encoding="utf-8") as f:
        json.dump([{"workload": w, "server": s, "runs": r}
                   for (w, s), r in runs.items()], f)

    if o.into:
        put_into(o, text, plots)


def put_into(o, text, plots):
    """Puts the report at the end of a page, and its plots into a folder that
    is named like the page."""
    folder = os.path.splitext(o.into)[0]
    page = read(o.into).partition(MARK)[0]
    os.makedirs(folder, exist_ok=True)

    for file, _ in [p for shown in plots.values() for p in shown]:
        shutil.copy(os.path.join(o.out, file), folder)
        text = text.replace(f"]({file})",
                            f"]({os.path.basename(folder)}/{file})")

    with open(o.into, "w", encoding="utf-8") as f:
        f.write(f"{page}{MARK}\n\n{text}")


def summary(servers, workloads, runs, reasons):
    """A table with a row for each workload: CPU time or memory of the peers,
    compared with Conduit's."""
    shown = [c for c in servers if c.name != "conduit" and not c.floor
             and any((w.name, c.name) in runs for w in workloads)]
    if not shown:
        return ""

    lines = ["## In short", "",
             "Ratio to Conduit's: CPU time of server and Redis together; of"
             " `idle`, memory of the",
             "server. More than 1 is more than Conduit takes, **bold** where a"
             " peer takes less.", "",
             f"| | {' | '.join(c.label for c in shown)} |",
             "|---" * (len(shown) + 1) + "|"]

    for w in workloads:
        of = memory_ratio if w.name == "idle" else cpu_ratio
        row = [ratio_cell(of(runs.get((w.name, c.name), []),
                             runs.get((w.name, "conduit"), [])),
                          reasons.get((w.name, c.name), "")) for c in shown]
        if any(row):
            lines.append(f"| `{w.name}` | {' | '.join(row)} |")

    return "\n".join(lines) + "\n"


def ratio_cell(ratio, why):
    if ratio is None:
        return "" if why == "not measured" else why.partition(":")[0]

    return f"**{ratio:.2f}**" if ratio < 1 else f"{ratio:.2f}"


def head(o, servers, runs, load):
    rounds = max((len(r) for r in runs.values()), default=0)

    return HEAD.format(
        command=o.command, date=datetime.date.today(), size=o.size,
        rounds=f"{rounds} round{'s' * (rounds != 1)}", machine=machine(),
        load=load, load_after=os.getloadavg()[0],
        busy=BUSY if load > BUSY_LOAD * os.cpu_count() else "",
        versions=versions(servers), workers=os.cpu_count())


def machine():
    model = [line.partition(": ")[2] for line in
             read("/proc/cpuinfo").splitlines() if "model name" in line]
    total = int(read("/proc/meminfo").split()[1]) // 1024 // 1024

    return (f"{os.cpu_count()} processors ({model[0] if model else '?'}),"
            f" {total} GB, Linux {platform.release().split('-')[0]}")


def output(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, text=True)
    except OSError:
        return "?"
    return (done.stdout.splitlines() or ["?"])[0]


def versions(servers):
    lines = [f"- {output(NGINX, '-v')}",
             f"- {output(REDIS, '--version').split(' sha=')[0]}"]

    for cls in servers:
        if cls.missing():
            lines.append(f"- {cls.label}: not installed ({cls.missing()})")
        elif cls.about:
            version = cls.version()
            lines.append(f"- {cls.label}{version and f' ({version})'}:"
                         f" {cls.about}")

    return "\n".join(lines)


def section(o, w, servers, runs, reasons, plots):
    columns = COLUMNS[w.name]
    counts = ALWAYS.get(w.name, DELIVERED)
    headings = [METRICS[m][0] for m in columns] + [COUNTS[c] for c in counts]
    lines = [f"## {w.name}", "", f"{w.describe(o.size)}.", "",
             f"| | {' | '.join(headings)} |",
             "|---" * (len(headings) + 1) + "|"]
    ours = runs.get((w.name, "conduit"), [])

    for cls in servers:
        why = reasons.get((w.name, cls.name))
        label = f"{cls.label} (floor)" if cls.floor else cls.label
        if why == "not measured":
            continue
        if why:
            row = [why] + [""] * (len(headings) - 1)
        else:
            got = runs[w.name, cls.name]
            row = [cell(m, got, ours, cls) for m in columns]
            row += [str(sum(f.get(c, 0) for f in got)) for c in counts]
        lines.append(f"| {label} | {' | '.join(row)} |")

    for file, text in plots.get(w.name, []):
        lines += ["", f"![{text}]({file})"]

    return "\n".join(lines) + "\n"


def cell(metric, got, ours, cls):
    _, digits, better = METRICS[metric]
    values = [f[metric] for f in got if metric in f]

    if not values:
        return ""
    if not any(values) and metric in ("cpu", "store_cpu", "store_kib",
                                      "store_busy"):
        return "—"

    text = f"{median(values):,.{digits}f}"
    pairs = ratios(lambda f: f.get(metric), got, ours)

    if cls.name == "conduit" or better is None or not pairs:
        return text

    ratio = median(pairs)
    spread = "" if len(pairs) == 1 \
        else f"; {min(pairs):.2f}–{max(pairs):.2f}"
    text += f" ({ratio:.2f}{spread})"
    ahead = ratio < 1 if better == "low" else ratio > 1

    return f"**{text}**" if ahead and not cls.floor else text
