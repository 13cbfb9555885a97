# SPDX-License-Identifier: GPL-2.0
"""Input that does not arrive in the VM: notice it, and record all that may explain it.

A program that does not read its stdin for a long time is normal: what was sent is
in its pipe then, or waits behind what is. It is a stall where the program has read
everything that arrived, more was sent, and nothing arrives.
"""

import fcntl
import os
import struct
import termios
import time

import paths
import qemu
import ui

LOOK = 10               # seconds between two looks
NO_ANSWER = 60          # the agent says nothing for so long
KEEP = 20               # records

QUEUES = 2 + 2 * len(qemu.PORTS)        # of a port each, and those for control
DEVICE = f"/machine/peripheral/{qemu.SERIAL}/virtio-backend"
COMMANDS = ("info status", "info cpus", "info chardev", "info qtree",
            f"info virtio-status {DEVICE}",
            *(f"info virtio-queue-status {DEVICE} {queue}" for queue in range(QUEUES + 2)),
            "info irq", "info pic", "info lapic", "info registers -a")


class Watch:
    """Looks after the stdin of a _Run's program while it runs."""

    def __init__(self, run):
        self.run = run
        self.input = run.threads["stdin"]
        self.began = time.monotonic()
        self.next = self.began + LOOK
        self.asked = None       # when, if there was no answer yet
        self.taken = 0          # bytes that the agent said it has
        self.idle = None        # (bytes sent, bytes taken) when the program waited for more
        self.record = None      # the file of the record, once there is one

    def due(self):
        """When to look next; None: for now, there is nothing to look after."""
        run = self.run
        if self.record or run.totals is not None or run.stopping or self.input.unwanted \
                or self.taken == self.input.total:
            return None
        return self.next

    def look(self):
        """Ask the agent how far the input came."""
        now = time.monotonic()
        self.next = now + LOOK
        if self.asked is None:
            self.asked = now
            self.run.wire.send("p")
        elif now - self.asked > NO_ANSWER:
            self.stalled(f"the VM did not answer for {NO_ANSWER} s")

    def message(self, kind, data):
        if kind == "D":
            self.write(data.decode(errors="replace"))
            return
        self.asked = None
        self.next = time.monotonic() + LOOK
        sent = self.input.total
        self.taken, given, unread = map(int, data.split())
        waits = given == self.taken and not unread
        if self.record or not waits or self.taken == sent:
            self.idle = None
        elif self.idle and self.idle[0] > self.taken == self.idle[1]:
            self.stalled(f"{self.taken} of {sent} bytes arrived, the program waits for more")
        else:
            self.idle = sent, self.taken

    # the record

    def stalled(self, why):
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.record = paths.log(f"stall-{stamp}-{os.getpid()}.txt")
        for old in sorted(self.record.parent.glob("stall-*.txt"))[:-KEEP]:
            old.unlink(missing_ok=True)
        self.write(self.facts(why))
        for command in COMMANDS:
            self.write(f"\n--- QEMU: {command}\n{self.run.qemu.monitor.ask(command)}")
        self.write("\n--- the agent, and the VM's kernel")
        self.run.wire.send("d")         # it comes in messages
        ui.say(f"lab: input for the program does not arrive in the VM: {why}\n"
               f"     a record for the lab's developers: {paths.show(self.record)}")

    def facts(self, why):
        sock = self.run.ports["stdin"]
        unread = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]
        return "\n".join([
            why, f"{time.monotonic() - self.began:.1f} s after the program's start",
            f"sent {self.input.total} bytes, that was{'' if self.input.ended else ' not'} all; "
            f"QEMU has not taken about {unread} of them",
            f"accelerator {self.run.result.accel}; kernel log {self.run.log}",
            f"input found late {self.run.result.late} times",
            f"load of the host {os.getloadavg()}, processors {os.cpu_count()}"])

    def write(self, text):
        if self.record:
            with open(self.record, "a", encoding="utf-8") as f:
                f.write(text.rstrip("\n") + "\n")
