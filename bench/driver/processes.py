# Copyright (C) Conduit for NGINX authors

"""Starts the processes of a run, measures them through /proc, and stops
them."""

import os
import signal
import socket
import subprocess
import time

TICK_US = 1000000 / os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A server has not started, or a run has failed."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=10):
    end = time.monotonic() + seconds

    while not condition():
        if time.monotonic() > end:
            raise Failed(f"not in {seconds} s: {what}")
        time.sleep(0.02)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program that does not daemonize, with all its children."""

    def __init__(self, command, log, env=None):
        with open(log, "ab") as f:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=f, stderr=f, env=env,
                start_new_session=True)
        self.pid = self.process.pid
        self.command = command[0]
        self.log = log

    def wait_port(self, port):
        def ready():
            if self.process.poll() is not None:
                raise Failed(f"{self.command} did not start:"
                             f" {last_line(self.log)}")
            return listens(port)

        wait_for(f"{self.command} on port {port}", ready)

    def stop(self):
        """Ends all processes of the program's group, which is its own."""
        for sig in signal.SIGTERM, signal.SIGKILL:
            try:
                os.killpg(self.pid, sig)
            except ProcessLookupError:
                pass
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                continue
            if sig == signal.SIGTERM and not alive(self.pid):
                break


def alive(group):
    try:
        os.killpg(group, 0)
        return True
    except ProcessLookupError:
        return False


def last_line(file):
    try:
        with open(file, encoding="utf-8", errors="replace") as f:
            return (f.read().splitlines() or ["(its log is empty)"])[-1]
    except OSError:
        return "(no log)"


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def tree(pids):
    """Returns the processes and all their descendants."""
    found, todo = [], list(pids)

    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            todo += map(int, read(f"/proc/{pid}/task/{task}/children").split())

    return found


def cpu_us(pids):
    """CPU time of the processes and their descendants, in microseconds.  It
    includes that of children that have exited, in ticks of 10 ms."""
    total = 0

    for pid in tree(pids):
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            text = read(f"/proc/{pid}/task/{task}/schedstat")
            total += int(text.split()[0]) / 1000 if text else 0
        stat = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if stat:
            total += (int(stat[13]) + int(stat[14])) * TICK_US

    return total


def pss_kib(pids):
    """Memory in KiB; shared pages are divided by the number of processes that
    share them (PSS)."""
    total = 0

    for pid in tree(pids):
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])

    return total
