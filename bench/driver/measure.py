# Copyright (C) Conduit for NGINX authors

"""Measures one run of a workload on a server."""

import json
import shutil
import subprocess
import tempfile

from .processes import Failed, cpu_us, pss_kib, read


def measure(generator, cls, workload, size, folder, seconds):
    """Starts a server, runs the workload, and stops the server.  Returns a
    dictionary of figures; raises Failed."""
    own = tempfile.mkdtemp(prefix=f"{cls.name}-{workload.name}-", dir=folder)
    server = cls(own)

    try:
        server.start()
        server.add_headers(workload.headers)
        figures = server.measure(generator, workload, size) \
            or run(generator, server, workload, size, seconds)
        figures["crashes"] = server.crashes()
        return figures
    except Failed as e:
        log = [line for line in read(server.path("error.log")).splitlines()
               if "[error]" in line or "[crit]" in line or "signal" in line]
        raise Failed(str(e) + (f" ({log[-1]})" if log else "")) from None
    finally:
        server.stop()
        shutil.rmtree(own, ignore_errors=True)


def run(generator, server, workload, size, seconds):
    command = ["timeout", str(seconds), generator, server.run or workload.run,
               server.target,
               f"at_once={server.at_once}",
               *workload.arguments(size)]
    seen = {}

    with subprocess.Popen(command, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as p:
        result = None
        for line in p.stdout:
            said = json.loads(line)
            if "phase" not in said:
                result = said
                continue
            seen[said["phase"]] = look(server)
            if said["phase"] == "reload":
                server.reload()
            p.stdin.write("\n")
            p.stdin.flush()
        errors = p.stderr.read().strip()

    if p.returncode or result is None:
        raise Failed(errors or f"no figures in {seconds} s")

    return figures_of(result, seen, workload, size)


def look(server):
    return {"cpu": cpu_us(server.pids()), "store": cpu_us(server.store_pids()),
            "pss": pss_kib(server.pids()), "mem": pss_kib(server.store_pids())}


def ms(times, share):
    return times[share] / 1000


def figures_of(r, seen, workload, size):
    """Returns a dictionary of figures, from the result r of the generator, and
    from CPU time and memory of the server at each phase (seen)."""
    before, after = seen["measure"], seen["measured"]
    spent = after["cpu"] - before["cpu"]
    stored = after["store"] - before["store"]
    work = r["publish_us"]["count"] if workload.run == "publish" \
        else r.get("events", 0)

    f = {"failed": r["failed"], "seconds": r["measured_us"] / 1e6}

    if work:
        f["cpu"] = spent / work
        f["store_cpu"] = stored / work
        f["own_cpu"] = r["own_cpu_us"] / work
        f["bytes"] = r.get("bytes", 0) / work

    if workload.run == "publish":
        f["rate"] = work / f["seconds"]
        f["p50"] = ms(r["publish_us"], "50")
        f["p99"] = ms(r["publish_us"], "99")
        return f

    for name in ("lost", "twice", "disordered", "refused", "closed",
                 "broken", "lost_slow", "events"):
        f[name] = r[name]

    if r["foreign"]:
        raise Failed(f"{r['foreign']} events of other channels")

    if r["event_us"]["count"]:
        f["p50"] = ms(r["event_us"], "50")
        f["p99"] = ms(r["event_us"], "99")
        f["times"] = {s: t for s, t in r["event_us"].items() if s != "count"}

    clients = workload.value(size, "clients")

    if workload.name == "idle":
        f["connect"] = (before["cpu"] - seen["start"]["cpu"]) / clients
        f["kib"] = (before["pss"] - seen["start"]["pss"]) / clients
        f["store_kib"] = (before["mem"] - seen["start"]["mem"]) / clients
        f["busy"] = spent / r["measured_us"] * 100
        f["store_busy"] = stored / r["measured_us"] * 100

    if "still" in seen:
        figures_of_growth(f, seen, r, workload.value(size, "still"), clients)

    if workload.run in ("storm", "tokens"):
        f["first50"] = ms(r["first_us"], "50")
        f["first99"] = ms(r["first_us"], "99")
        f["undone"] = clients - r["done"]

    if "full" in seen:
        f["slow_kib"] = sum(seen["full"][m] - before[m] for m in
                            ("pss", "mem")) / workload.value(size, "slow")

    if "reload" in seen:
        f["peak"] = max(r["closes"])
        f["closes"] = r["closes"]

    return f


def figures_of_growth(f, seen, r, still_ms, clients):
    """Adds the memory of a channel, the CPU time without messages ("busy"),
    and the CPU time of an event without that share ("net")."""
    start, still, before = (seen[p] for p in ("start", "still", "measure"))

    f["kib"] = (before["pss"] - start["pss"]) / clients
    f["store_kib"] = (before["mem"] - start["mem"]) / clients

    for name, of in ("", "cpu"), ("store_", "store"):
        idle = (before[of] - still[of]) / (still_ms * 1000)
        f[f"{name}busy"] = idle * 100
        f[f"{name}net"] = f[f"{name}cpu"] \
            - idle * r["measured_us"] / f["events"]
