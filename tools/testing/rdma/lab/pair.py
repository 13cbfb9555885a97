# SPDX-License-Identifier: GPL-2.0
"""Two VMs and a network between them.

    result = pair.run(argv)             # in both
    result = pair.run(argv, other)      # ARGV in the first, OTHER in the second

The link is a socket pair that each QEMU has one end of: nothing of the host's
network takes part. Each VM has a thread of its own, in which vm.run() does all
that it does for one. Both programs start when both VMs are up.

The caller sees the first VM: its streams and its status. What the program in the
second one says comes on stderr, line by line. When the first one's program ends,
the second one's has GRACE seconds to end, too. Both VMs stay up until then: what
a program sent just before its end still has to arrive.
"""

import collections
import os
import socket
import threading

import accel
import agent
import streams
import ui
import vm

MACS = ("52:54:00:72:78:00", "52:54:00:72:78:01")
ADDRESSES = ("10.0.0.1", "10.0.0.2")
MARK = b"[1] "          # before each line of the second VM's program
GRACE = 5               # seconds that it may go on after the first one's


class Node:
    """One of the two VMs; vm.run() calls it in the thread of that VM."""

    def __init__(self, number, sock):
        self.number = number
        self.socket = sock
        self.mac, self.address = MACS[number], ADDRESSES[number]
        self.other = None
        self.up = self.told = False     # ready to run its program; told to
        self.over = self.failed = False # its program ended; so that the other VM has to end
        self.stopped = False            # its program was ended, and did not end by itself
        self.signals = collections.deque()      # for its program, from the other VM's thread
        self.signalled = False
        self.result = self.error = None
        self._vm = None

    def join(self, running):
        self._vm = running
        self.look()

    def is_up(self):
        self.up = True
        self.other.wake()
        self.look()

    def wake(self):
        if self._vm:
            self._vm.wake()

    def look(self):
        """Do what the state of both asks for."""
        if self.up and self.other.up and not self.told:
            self.told = True
            self._vm.let_run()
        while self.signals and self._vm.began:
            self.signalled = True
            self._vm.pass_on(self.signals.popleft())
        if self.stopped or self.over or not self.other.over:
            return
        if self.other.failed or not self.told:
            self.stopped = True
            self._vm.stop()
        elif self.number == 1 and self._vm.began:
            self._vm.limit(GRACE)

    def signal(self, signum):
        """Pass a signal on that the program of the other VM got."""
        self.signals.append(signum)
        self.wake()

    def ended(self, result):
        """This VM's program ended. True once the other one's did, too: the VM can go."""
        if not self.over:
            self._judge(result)
            self.over = True
            self.other.wake()
        return self.other.over

    def _judge(self, result):
        self.failed = bool(result.panic or result.error or result.stopped or result.timed_out)
        # Only the first VM has a time limit of the caller's: here, it was GRACE
        self.stopped |= self.number == 1 and bool(result.stopped or result.timed_out)

    def run(self, argv, env, **more):
        """Run ARGV here, and let the other one know when it ended."""
        env = {**env, b"LAB_NODE": b"%d" % self.number, b"LAB_ADDRESS": self.address.encode(),
               b"LAB_PEER": self.other.address.encode()}
        try:
            self.result = vm.run(argv, env=env, node=self, **more)
            if not self.over:
                self._judge(self.result)
        except (ui.LabError, OSError) as e:
            self.error = e
            self.failed = True
        finally:
            self.over = True
            self.other.wake()


class _Lines(threading.Thread):
    """What is written to SINK comes on stderr, with MARK before each line."""

    def __init__(self):
        super().__init__(daemon=True)
        self._source, self.sink = os.pipe()
        # Our terminal is raw while the first VM's program reads from it
        self._end = b"\r\n" if streams.is_tty(2) else b"\n"
        self.start()

    def run(self):
        with open(self._source, "rb") as source:
            for line in source:
                try:
                    streams.write_all(2, MARK + line.rstrip(b"\r\n") + self._end)
                except OSError:
                    pass        # nobody reads it; what comes has to be taken all the same

    def close(self):
        os.close(self.sink)
        self.join()


def _outcome(first, second):
    """One Result of both."""
    for node in (second, first) if first.stopped else (first, second):
        if node.error:
            raise node.error
    result, other = first.result, second.result
    result.peer = other
    if first.stopped:
        result.status = other.status
    elif not result.status and not second.stopped and not second.signalled:
        result.status = other.status
    return result


def run(argv, other=None, *, kernel="phyr", env=None, timeout=None, stdin=b"", stdout=None,
        stderr=None, umask=None, name="run", signals=None, **more):
    """Run ARGV in two VMs, or OTHER in the second. All else is as in vm.run().

    The Result is the first one's, and has that of the second as its `peer`. Its
    status is the second one's where the first ended well and the second ended
    badly by itself, or ended so that the first could not go on.
    """
    accel.choose(vm.prepare(kernel), agent.initramfs())     # once, and not in both threads
    more = {**more, "kernel": kernel, "umask": vm.own_umask() if umask is None else umask,
            "env": dict(os.environb if env is None else env)}
    sockets = socket.socketpair()
    first, second = nodes = [Node(number, sock) for number, sock in enumerate(sockets)]
    first.other, second.other = second, first
    lines = _Lines()
    thread = threading.Thread(
        target=second.run, args=(argv if other is None else other,), daemon=True,
        kwargs={**more, "stdout": lines.sink, "stderr": lines.sink, "name": name + "-1"})
    thread.start()
    try:
        first.run(argv, stdin=stdin, stdout=stdout, stderr=stderr, timeout=timeout, name=name,
                  signals=signals, **more)
    finally:
        thread.join()
        lines.close()
        for node in nodes:
            node.socket.close()
    return _outcome(first, second)
