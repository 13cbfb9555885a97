# SPDX-License-Identifier: GPL-2.0
"""The caller's end of the program's streams.

Each stream has a thread of its own that copies with blocking calls: whoever
does not read holds up its own stream and nothing else. The caller's
descriptors are shared with other processes, so they are never set to not
block.
"""

import fcntl
import os
import termios
import threading
import time
import tty

CHUNK = 65536
CLOSED = -1             # a stream that the caller has closed


def is_open(fd):
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


def is_tty(fd):
    return fd is not None and fd != CLOSED and os.isatty(fd)


def same_file(a, b):
    """Both lead to one place, as after 2>&1: then their order matters."""
    if a in (None, CLOSED) or b in (None, CLOSED):
        return False
    a, b = os.fstat(a), os.fstat(b)
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


class Output(threading.Thread):
    """From the VM to a descriptor, or into memory where FD is None."""

    def __init__(self, sock, fd, wake):
        super().__init__(daemon=True)
        self.sock, self.fd, self.wake = sock, fd, wake
        self.data = bytearray()
        self.total = 0          # bytes that reached their end
        self.broken = False     # nobody reads them any more
        self.start()

    def run(self):
        while True:
            try:
                data = self.sock.recv(CHUNK)
            except OSError:
                break
            if not data:
                break
            self.put(data)
            self.total += len(data)
            self.wake()

    def put(self, data):
        if self.fd is None:
            self.data += data
        elif not self.broken:
            try:
                write_all(self.fd, data)
            except OSError:
                self.broken = True


class Input(threading.Thread):
    """From a descriptor, or from bytes, to the VM."""

    def __init__(self, sock, source, wake):
        super().__init__(daemon=True)
        self.sock, self.source, self.wake = sock, source, wake
        self.total = 0          # bytes that were sent
        self.ended = False      # all was sent
        self.unwanted = False   # the program closed its end
        self.start()

    def run(self):
        try:
            for data in self.pieces():
                if self.unwanted:
                    break
                view = memoryview(data)
                while view:
                    sent = self.sock.send(view[:CHUNK])
                    self.total += sent
                    self.wake()     # there is something to look after now
                    view = view[sent:]
        except OSError:
            pass                # the VM is gone, or the source is
        self.ended = True
        self.wake()

    def pieces(self):
        if isinstance(self.source, (bytes, bytearray)):
            yield self.source
            return
        while not self.unwanted:
            data = os.read(self.source, CHUNK)
            if not data:
                return
            yield data


class Terminal:
    """The caller's terminal, handed to a terminal in the VM.

    While the program reads from it, it is raw: what keys mean is decided in
    the VM. Where only output goes to it, it stays as it is.
    """

    def __init__(self, fds):
        ttys = [fd for fd in fds if is_tty(fd)]
        self.fd = ttys[0]
        self.reads = is_tty(fds[0])
        outputs = [fd for fd in fds[1:] if is_tty(fd)]
        self.output = outputs[0] if outputs else self.fd
        self.saved = None
        self.interrupt_key = termios.tcgetattr(self.fd)[6][termios.VINTR]

    def settings(self):
        """struct termios as the kernel has it, for the terminal in the VM."""
        raw = bytearray(fcntl.ioctl(self.fd, termios.TCGETS, bytes(60)))
        if not self.reads:
            # Output only: it is processed here. OPOST is a bit of c_oflag.
            raw[4] &= ~termios.OPOST & 0xff
        return bytes(raw)

    def size(self):
        return fcntl.ioctl(self.fd, termios.TIOCGWINSZ, bytes(8))

    def in_foreground(self):
        try:
            return os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:         # not our controlling terminal: no job control
            return True

    def take(self):
        if self.reads and self.saved is None and self.in_foreground():
            self.saved = termios.tcgetattr(self.fd)
            tty.setraw(self.fd, termios.TCSANOW)

    def give_back(self):
        if self.saved is not None:
            saved, self.saved = self.saved, None
            try:
                termios.tcsetattr(self.fd, termios.TCSANOW, saved)
            except termios.error:
                pass            # it is gone


class Keys(Input):
    """What is typed, with an eye on the interrupt key."""

    def __init__(self, sock, terminal, wake):
        self.terminal = terminal
        self.interrupts = 0     # interrupt keys in a row
        super().__init__(sock, terminal.fd, wake)

    def pieces(self):
        while True:
            while not self.terminal.in_foreground():
                time.sleep(0.2) # to read would stop all of us
            data = os.read(self.source, CHUNK)
            if not data:
                return
            yield data
            if data.strip(self.terminal.interrupt_key):
                self.interrupts = 0
            else:
                self.interrupts += len(data)
            self.wake()
