# Copyright (C) Conduit for NGINX authors

"""Ratios between two servers, of runs in the same round."""

from statistics import median


def ratios(value, got, ours):
    """value is a function that takes the figures of a run, and returns a
    number; None if the run does not have it."""
    by_round = {f["round"]: value(f) for f in ours}

    return [value(f) / by_round[f["round"]] for f in got
            if value(f) and by_round.get(f["round"])]


def cpu(f):
    """CPU time of server and Redis together."""
    return f["cpu"] + f["store_cpu"] if "cpu" in f else None


def cpu_ratio(got, ours):
    found = ratios(cpu, got, ours)
    return median(found) if found else None


def memory_ratio(got, ours):
    found = ratios(lambda f: f.get("kib"), got, ours)
    return median(found) if found else None
