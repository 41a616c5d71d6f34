"""What servers that aren't ours need: installed if this is Debian and root runs it, else listed."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

NPM_FOLDER = Path(__file__).resolve().parent / "others/node"
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NODE_MAJOR = 20

# By what a kind says that it needs: whether it is there, and the Debian packages that bring it.
DEBIAN = {
    "node": (lambda: shutil.which("node"), ("nodejs",)),
    "npm": (lambda: shutil.which("npm"), ("npm",)),
    "redis": (lambda: shutil.which("redis-server"), ("redis-server",)),
    "nats": (lambda: shutil.which("nats-server"), ("nats-server",)),
    "nchan": (lambda: shutil.which("nginx") and NCHAN_MODULE.exists(), ("nginx", "libnginx-mod-nchan")),
}


def install(needs):
    """Installs what is missing of `needs`, or ends with a list of it."""
    wanted = [package for need, (is_there, packages) in DEBIAN.items() if need in needs and not is_there()
              for package in packages]
    if wanted:
        install_debian(wanted)
    if "packages" in needs:
        install_npm()


def install_debian(packages):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"install these, by their Debian names: {' '.join(packages)}")
    print(f"installing {' '.join(packages)}", file=sys.stderr)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], env=environment, stdout=sys.stderr, check=True)


def install_npm():
    major = int(output("node", "--print", "process.versions.node").split(".")[0])
    if major < NODE_MAJOR:
        sys.exit(f"node is version {major}, the relays in {NPM_FOLDER} need {NODE_MAJOR} or later")
    installed, wanted = NPM_FOLDER / "node_modules/.package-lock.json", NPM_FOLDER / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    print(f"npm ci in {NPM_FOLDER}", file=sys.stderr)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=NPM_FOLDER, stdout=sys.stderr, check=True)


def versions(needs):
    """What is measured beside Dunlin, by its own words."""
    found = {}
    if "node" in needs:
        found["node"] = output("node", "--version")
    if "packages" in needs:
        for name in json.loads((NPM_FOLDER / "package.json").read_text())["dependencies"]:
            package = json.loads((NPM_FOLDER / "node_modules" / name / "package.json").read_text())
            found[name] = package["version"]
    if "redis" in needs:
        found["redis"] = output("redis-server", "--version").split("v=")[1].split()[0]
    if "nats" in needs:
        found["nats-server"] = output("nats-server", "--version").split()[-1]
    if "nchan" in needs:
        found["nginx"] = output("nginx", "-v").split("/")[-1]
        found["nchan"] = output("dpkg-query", "--show", "--showformat=${Version}", "libnginx-mod-nchan")
    return found


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).strip()
