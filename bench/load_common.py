# SPDX-License-Identifier: Apache-2.0
"""load_common: servers and runs for the bench/load_*.py experiments."""
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def percore_of(build):
    path = pathlib.Path(build) / "programs" / "percore"
    if not path.exists():
        raise SystemExit(f"{path} is not there: ./dev bench builds it")
    return str(path)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def pinned(cpu):
    """For preexec_fn: this CPU, if there is more than one."""
    if cpu is not None and (os.cpu_count() or 1) > 1:
        return lambda: os.sched_setaffinity(0, {cpu})
    return None


@contextlib.contextmanager
def server(words, port, cpu=None):
    if shutil.which(words[0]) is None:
        raise SystemExit(f"{words[0]} is not installed")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          preexec_fn=pinned(cpu)) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{words[0]} did not start")
                time.sleep(0.01)
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def memcached(port, cpu=None, threads=1):
    user = ["-u", "root"] if os.geteuid() == 0 else []
    return server(["memcached", "-l", "127.0.0.1", "-p", str(port), "-t", str(threads), "-m", "256",
                   *user], port, cpu)


def redis(port, cpu=None):
    return server(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
                   "--appendonly", "no"], port, cpu)


def run(words, cpu=None, **more):
    """Run to the end: output, exit code, CPU seconds of the whole process."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=pinned(cpu), **more) as process:
        out = process.stdout.read()
        trouble = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 5):
        print(f"{' '.join(words)}: exit {process.returncode}: {trouble}", file=sys.stderr)
    return out, process.returncode, usage.ru_utime + usage.ru_stime


def load(percore, *words, cpu=None):
    """One run of percore load: its JSON, its exit code, its CPU seconds."""
    out, code, cpu_s = run([percore, "load", *words, "--json", "-"], cpu)
    if not out.startswith("{"):
        raise SystemExit(f"percore load {' '.join(words)}: exit {code}")
    return json.loads(out), code, cpu_s


def machine():
    def read(path):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            return file.read().strip()
        return "absent"

    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "congestion": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "rps_cpus_lo": read("/sys/class/net/lo/queues/rx-0/rps_cpus"),
        "autogroup": read("/proc/sys/kernel/sched_autogroup_enabled"),
    }
