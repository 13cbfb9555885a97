# SPDX-License-Identifier: GPL-2.0
"""Several suites at a time, each by a `./lab check` of its own.

The tests of a VM seldom keep more than one processor busy, so there are as many
at a time as there are processors. More would make the debug kernel so slow that
it takes tasks for hung. What they all need is built first, so that none waits
for another.
"""

import collections
import re
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import kernel
import paths
import programs
import suites
import ui
import userspace
import vm

LAB = paths.TOP / "lab"
TOTALS = re.compile(r"(\d+) passed, (\d+) failed\n?$")


class Task(NamedTuple):
    """Suites, or parts of them, that one call runs, one after the other, on one kernel."""
    kernel: str
    words: tuple

    def __str__(self):
        names = suites.grouped(self.words)
        return " ".join([*([self.kernel] if self.kernel != "phyr" else []), *names])


def prepare(tasks):
    """Build what most of TASKS have in common; a failure is left to them to tell.

    The kernel is that of the first of them. Another one is built when a task
    needs it: on a slow machine, after others have run.
    """
    wanted = {name for task in tasks for name in suites.grouped(task.words)}
    try:
        vm.prepare(tasks[0].kernel, deferred=True)
        if "pyverbs" in wanted:
            userspace.ensure_pyverbs()
        for name in wanted & {"verbs", "dma"}:
            programs.ensure(name)
    except ui.LabError as e:
        ui.say(f"{e.what}: the suites will say more")


class Pool:
    """Runs tasks, a few at a time, in their order."""

    def __init__(self, tasks):
        self.waiting = collections.deque(tasks)
        self.lock = threading.Lock()
        self.running = {}           # child: its task
        self.passed = self.failed = 0
        self.stopped = False

    def run(self):
        """(passed, failed)."""
        workers = [threading.Thread(target=self._work, daemon=True)
                   for _ in range(kernel.jobs())]
        try:
            for worker in workers:
                worker.start()
            # In short steps: a signal interrupts no join()
            while any(worker.is_alive() for worker in workers):
                time.sleep(0.2)
        finally:
            self._stop()
        return self.passed, self.failed

    def _begin(self):
        """The child that runs the next task, known before anybody can stop it."""
        with self.lock:
            if self.stopped or not self.waiting:
                return None
            task = self.waiting[0]
            words = [LAB, "check", "--kernel", task.kernel, *task.words]
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, errors="replace",
                                     start_new_session=True)
            self.running[child] = self.waiting.popleft()
            return child

    def _work(self):
        while child := self._begin():
            with child:
                talk = threading.Thread(target=self._relay, daemon=True,
                                        args=(self.running[child], child.stderr))
                talk.start()
                said = child.stdout.read()
                talk.join()
            self._take(child, said)

    @staticmethod
    def _relay(task, stream):
        for line in stream:
            ui.say(f"[{task}] {line.rstrip()}")

    def _take(self, child, said):
        """Count and show what CHILD printed."""
        with self.lock:
            if self.stopped:
                return
            task = self.running.pop(child)
            totals = TOTALS.search(said)
            if totals:
                self.passed += int(totals[1])
                self.failed += int(totals[2])
                said = said[:totals.start()]
            sys.stdout.write(said)
            if not totals or child.returncode not in (0, 1):
                self.failed += 1
                print(f"  FAIL {task}: {ui.how(child.returncode)}")
            sys.stdout.flush()

    def _stop(self):
        """End what runs."""
        with self.lock:
            self.stopped = True
            running = list(self.running)
        for child in running:
            ui.end(child, grace=30)
