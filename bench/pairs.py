# SPDX-License-Identifier: Apache-2.0
"""pairs: servers side by side, slices in turn, ratios with their interval.

A machine that drifts by tens of per cent within seconds cannot compare two figures taken one
after the other. So all servers stay up together, each pinned to the same CPU; their clients stay
connected, pinned to another; and short slices of load go round in random order. A ratio is formed
within a round, and the figure is the median of the rounds with its order-statistic interval.
Slices of 0.4 s in four turns of 0.1 s: A/A [0.996, 1.013] after 20 rounds beside other work, where
one turn of 0.4 s gave [0.963, 1.022].

Used by floor.py, placement.py and idle.py; needs nothing but Python's own library.
"""

import json
import math
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


# What is asked of servers: the client's protocol and --ask; redis always speaks its own protocol.
MODES = {
    "echo": ("frame", "get"),
    "get": ("memcached", "get"),
    "set": ("memcached", "set"),
    "mg": ("meta", "get"),
    "mix": ("memcached", "mix"),
    "mg-mix": ("meta", "mix"),
    "keys": ("memcached", "keys"),
}
KEYS_ASKED = 100  # by one request of `keys`


def find_program(build, name):
    """The path of one of our own programs inside the build folder."""
    for path in (build / "bench" / name, build / "programs" / name, build / name):
        if path.is_file():
            return str(path)
    raise SystemExit(f"no {name} under {build}: build it first, or name the folder with --build")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server under test: started pinned to `cpus`, ended by close()."""

    def __init__(self, name, command, port, cpus, protocol, ask):
        self.name, self.port, self.protocol, self.ask = name, port, protocol, ask
        self.log = []
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
        )
        self.pid = self.process.pid
        self.wait_until_listening(command)

    def wait_until_listening(self, command):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"{' '.join(command)}: ended with {self.process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"{' '.join(command)}: does not listen")

    def cpu_ns(self):
        """The process CPU clock: every thread, ended ones too. The number is the kernel's
        encoding of clock_getcpuclockid."""
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def split_arm(arm):
    """`percore` or `percore=PATH`: the second compares a build that lies elsewhere."""
    name, _, path = arm.partition("=")
    return name, path


def percore_command(build, arm, mode, port, cores, extra, connections_max):
    program = split_arm(arm)[1] or find_program(build, "percore")
    if mode == "echo":
        return [program, "echo", "127.0.0.1", str(port), str(cores), *extra]
    command = [program, "cache", "-l", "127.0.0.1", "-p", str(port), "--cores", str(cores)]
    return [*command, "-m", "256", "-c", str(connections_max), "-u", "nobody", *extra]


def start_server(arm, mode, build, cpus, cores=1, extra=(), prefix=(), connections_max=4096):
    """Starts an arm: floor, floor-again, percore, percore-again, memcached or redis; `prefix` is
    the command of a tool it runs under."""
    port = free_port()
    name = split_arm(arm)[0]
    kind = name.removesuffix("-again")
    protocol, ask = MODES[mode]
    if kind == "floor":
        program = split_arm(arm)[1] or find_program(build, "floor_epoll")
        command = [program, mode, str(port)]
    elif kind.startswith("percore"):
        command = percore_command(build, arm, mode, port, cores, extra, connections_max)
    elif kind == "memcached" and mode != "echo":
        command = [shutil.which("memcached") or "memcached", "-t", str(cores), "-m", "256"]
        command += ["-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody"]
        command += ["-c", str(connections_max), *extra]
    elif kind == "redis" and mode != "echo":
        protocol = "redis"
        command = [shutil.which("redis-server") or "redis-server", "--port", str(port)]
        command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--io-threads", "1", "--maxclients", str(connections_max), "--dir", "/tmp"]
    else:
        raise SystemExit(f"no arm '{arm}' for {mode}")
    return Server(name, [*prefix, *command], port, cpus, protocol, ask)


class Client:
    """One process of client.c with its connections to one server."""

    def __init__(self, build, server, connections, pipeline, body_bytes, cpu, seed, host=None):
        command = [find_program(build, "closed_loop_client"), "--protocol", server.protocol]
        command += ["--ask", server.ask]
        command += ["--port", str(server.port), "--connections", str(connections)]
        command += ["--pipeline", str(pipeline), "--body-bytes", str(body_bytes)]
        command += ["--server-pid", str(server.pid), "--seed", str(seed)]
        command += ["--host", host or "127.0.0.1"]
        if cpu is not None:
            command += ["--cpu", str(cpu)]
        self.server = server
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.expect("ready")

    def expect(self, word):
        line = self.process.stdout.readline().split()
        if not line or line[0] != word:
            raise SystemExit(f"the client of {self.server.name} ended, wanted '{word}'")
        return line[1:]

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def load(self):
        if self.server.protocol != "frame":
            self.tell("load")
            self.expect("loaded")

    def set_pipeline(self, pipeline):
        self.tell(f"pipeline {pipeline}")

    def run(self, seconds):
        """One slice: requests, wall, server CPU and client CPU in ns."""
        self.tell(f"run {int(seconds * 1000)}")
        return tuple(int(word) for word in self.expect("ran"))

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def interval(values, coverage=0.95):
    """Median and the narrowest symmetric order-statistic interval of at least `coverage`."""
    ordered = sorted(values)
    count = len(ordered)
    tail, rank = 0.0, 0
    for k in range(count // 2):
        tail += math.comb(count, k) / 2**count
        if 1 - 2 * tail < coverage:
            break
        rank = k
    return statistics.median(ordered), ordered[rank], ordered[count - 1 - rank]


def read_text(path):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return ""


def machine():
    """What a reader must know to judge a figure."""
    cpu = ""
    for line in read_text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "kernel": os.uname().release.partition("-")[0],
        "congestion": read_text("/proc/sys/net/ipv4/tcp_congestion_control"),
        "loopback_rps": read_text("/sys/class/net/lo/queues/rx-0/rps_cpus"),
        "load_average": read_text("/proc/loadavg").split()[:1],
    }


def commit():
    """The commit measured; `+` when the tree differs from it."""
    try:
        git = ["git", "-C", str(ROOT)]
        name = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
        return name + ("+" if subprocess.call([*git, "diff", "--quiet", "HEAD"]) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def print_json(record, out):
    """One line for machines, to `out` (a file) or to standard output."""
    record = {**record, "commit": commit(), "machine": machine()}
    line = json.dumps(record, sort_keys=True)
    if out:
        with open(out, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    else:
        print(line, flush=True)


def server_loops(pid):
    """The peer's ports of the established TCP connections of each event loop, from the outside:
    the kernel lists what each epoll descriptor watches, whatever the server says of itself."""
    established = {}
    for table in (f"/proc/{pid}/net/tcp", f"/proc/{pid}/net/tcp6"):
        for line in read_text(table).splitlines()[1:]:
            words = line.split()
            if words[3] == "01":
                established[f"socket:[{words[9]}]"] = int(words[2].rpartition(":")[2], 16)
    folder = pathlib.Path(f"/proc/{pid}/fd")
    links = {}
    for entry in folder.iterdir():
        try:
            links[entry.name] = os.readlink(entry)
        except OSError:
            pass  # closed meanwhile
    loops = []
    for name in sorted(links, key=int):
        if links[name] == "anon_inode:[eventpoll]":
            watched = [links.get(line.split()[1]) for line in
                       read_text(f"/proc/{pid}/fdinfo/{name}").splitlines()
                       if line.startswith("tfd:")]
            loops.append([established[link] for link in watched if link in established])
    return loops


def server_connections(pid):
    """Established TCP connections per event loop."""
    return [len(ports) for ports in server_loops(pid)]


def anonymous_bytes(pid):
    """Private memory the process itself has touched; sockets are the kernel's."""
    for line in read_text(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no Anonymous in smaps_rollup of {pid}")


def context_switches(pid):
    """Times any thread of the process slept or was preempted."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for line in read_text(task / "status").splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def steal_ns():
    """Time the hypervisor gave to others, all CPUs, from /proc/stat."""
    return int(read_text("/proc/stat").split("\n", 1)[0].split()[8]) * 10_000_000


def run_rounds(clients, rounds, slice_seconds, turns, rng, warm_seconds=0.2):
    """Per client name, one (requests, wall, server, client) per round: the sums of its turns. A
    slice is dealt out in turns because the machine drifts within a slice too."""
    for client in clients:
        client.run(warm_seconds)
    samples = {client.server.name: [] for client in clients}
    for _ in range(rounds):
        sums = {name: (0, 0, 0, 0) for name in samples}
        for _ in range(turns):
            order = list(clients)
            rng.shuffle(order)
            for client in order:
                name = client.server.name
                sums[name] = tuple(map(sum, zip(sums[name], client.run(slice_seconds / turns))))
        for name, row in sums.items():
            samples[name].append(row)
    return samples


def numbers(text):
    return [int(word) for word in text.split(",")]


def note(text):
    print(text, file=sys.stderr, flush=True)
