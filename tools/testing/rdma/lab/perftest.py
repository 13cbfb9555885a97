# SPDX-License-Identifier: GPL-2.0
"""perftest between rxe0 and rxe1 of one VM, or between two VMs.

A Test is one pair of programs, server and client. script() is a shell script
that runs a list of them one after the other, to be given to vm.run();
scripts() are two, for pair.run(). outcomes() finds the figures of each in what
the client printed.
"""

import re
import shlex
from typing import NamedTuple

import ui
import userspace

GID_INDEX = 1
FIRST_PORT = 18515


class Test(NamedTuple):
    program: str                # ib_write_bw, say
    size: int                   # bytes of a message
    iterations: int
    options: tuple = ()         # more, for both programs
    server: tuple = ()          # and for the server alone
    prefix: tuple = ()          # a command that runs the client, in one VM

    def argv(self, folder, device, port):
        return [f"{folder}/{self.program}", "-d", device, "-x", str(GID_INDEX), "-F",
                "-p", str(port), "-s", str(self.size), "-n", str(self.iterations),
                *self.options]


class Figures(NamedTuple):
    test: Test
    iterations: int
    peak: float                 # MB/s, of 2^20 bytes
    average: float
    rate: float                 # million messages a second


# A server is ready once its port listens (state 0A). It says nothing of that.
_FUNCTIONS = r"""
listens() {
    grep -qi ":$1 [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6
}
wait_for() {
    until listens "$1"; do
        kill -0 "$2" 2>/dev/null || return
        sleep 0.05
    done
}
"""

# /dev/null is the server's stdout: its figures are the client's.
# On a busy machine perftest may fail to find how fast its clock runs, say so
# ("Correlation coefficient"), and give 0 for all figures.
_PAIR = r"""
echo "=== test {number}"
for try in 1 2 3 4 5; do
    {server} >/dev/null 2>&1 & server=$!
    wait_for {port:04X} $server
    text=$({client} 2>&1)
    status=$?
    kill $server 2>/dev/null
    wait $server 2>/dev/null
    case $text in *Correlation*) ;; *) break ;; esac
done
echo "$text"
echo "=== status $status"
"""

# Each server waits at its own port, as often as the client needs it.
_SERVER = r"""
while :; do {server}; sleep 0.1; done >/dev/null 2>&1 &
"""

_CLIENT = r"""
echo "=== test {number}"
for try in $(seq 300); do
    text=$({client} 2>&1)
    status=$?
    case $text in *"ouldn't connect"* | *Correlation*) sleep 0.1 ;; *) break ;; esac
done
echo "$text"
echo "=== status $status"
"""


def script(tests, server="rxe1", client="rxe0"):
    """A shell script that runs all TESTS."""
    folder = userspace.ensure_perftest()
    parts = [_FUNCTIONS]
    for number, test in enumerate(tests):
        port = FIRST_PORT + number
        parts.append(_PAIR.format(
            number=number, port=port,
            server=shlex.join([*test.argv(folder, server, port), *test.server]),
            client=shlex.join([*test.prefix, *test.argv(folder, client, port), "127.0.0.1"])))
    return "".join(parts)


def scripts(tests):
    """The scripts of the client's VM and of the server's."""
    folder = userspace.ensure_perftest()
    client, server = [], []
    for number, test in enumerate(tests):
        words = test.argv(folder, "rxe0", FIRST_PORT + number)
        server.append(_SERVER.format(server=shlex.join([*words, *test.server])))
        client.append(_CLIENT.format(number=number, client=shlex.join(words) + ' "$LAB_PEER"'))
    return "".join(client), "".join([*server, "wait\n"])


_FIGURES = re.compile(r"^\s*(\d+)\s+(\d+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s*$", re.MULTILINE)


_COMPLAINT = re.compile(r"fail|error|unable|couldn't|invalid|unsupported|not supported",
                        re.IGNORECASE)


class Failure(NamedTuple):
    test: Test
    why: str                    # what perftest said


def _parse_one(test, text):
    """The Figures of TEST, or its Failure."""
    status = re.search(r"^=== status (\d+)$", text, re.MULTILINE)
    found = _FIGURES.search(text)
    if status and status[1] == "0" and found and int(found[1]) == test.size and float(found[5]):
        return Figures(test, int(found[2]), float(found[3]), float(found[4]), float(found[5]))
    said = [line.strip() for line in text.splitlines() if _COMPLAINT.search(line)]
    how = f"exit status {status[1]}, no figures" if status else "it did not end"
    return Failure(test, "; ".join(said[:2]) or how)


def outcomes(tests, text):
    """The Figures or Failure of TESTS, in their order, from the output of script()."""
    parts = re.split(r"^=== test \d+\n", text, flags=re.MULTILINE)[1:]
    if len(parts) != len(tests):
        raise ui.LabError(f"perftest: {len(parts)} of {len(tests)} tests began",
                          tail=text.splitlines()[-15:])
    return [_parse_one(test, part) for test, part in zip(tests, parts)]
