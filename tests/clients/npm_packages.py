# SPDX-License-Identifier: Apache-2.0
"""npm_packages: the JavaScript clients, by the versions and sums of npm/package-lock.json.

They are fetched once a build into its folder `npm`; a machine that cannot reach npm's registry says so.
"""
import fcntl
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
FETCH_SECONDS = 120


class Unreachable(Exception):
    pass


def fetch():
    """The folder of the packages, for NODE_PATH."""
    if shutil.which("npm") is None:
        raise Unreachable("npm is not installed")
    folder = os.environ["NPM_FOLDER"]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        names = ("package.json", "package-lock.json")
        wanted = [open(os.path.join(HERE, "npm", name), encoding="utf-8").read() for name in names]
        stamp = os.path.join(folder, "fetched")
        if not os.path.exists(stamp) or open(stamp, encoding="utf-8").read() != wanted[1]:
            install(folder, dict(zip(names, wanted)))
            with open(stamp, "w", encoding="utf-8") as file:
                file.write(wanted[1])
    return os.path.join(folder, "node_modules")


def install(folder, files):
    for name, content in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"npm's registry did not answer within {FETCH_SECONDS} s")
    if done.returncode != 0:
        raise Unreachable("npm could not fetch its packages: " + done.stderr.strip()[-500:])
