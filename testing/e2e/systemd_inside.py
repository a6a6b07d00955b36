"""Run by systemd_test.sh as a service of a systemd that has the broker's units and nothing else. Laws:

1. The socket starts the broker for the first guest: an ordinary user of the group gpu-broker-guests runs nvidia-smi.
2. Another user is told that it may not.
3. Operators are root and the group gpu-broker-admin; another user is told so. A socket of a guest that they add is for those
   who may be guests.
4. `systemctl reload` applies what the settings say to a guest that runs, or fails with the place of the mistake and changes
   nothing.
5. Who connects at the socket of gpu-broker-guest@a.socket is guest a.
6. `systemctl restart`, SIGKILL and a supervisor that hangs until the watchdog bites change the supervisor and nothing else:
   copies go on, workers stay, and who connects meanwhile is served by the next one.
7. `systemctl stop` waits until guests have left, and leaves no process.
8. The exporter, as nobody in particular, may ask the broker and be asked by programs of this machine. It goes on without the
   broker, and does not start it."""

import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402
import supervisors  # noqa: E402

HERE = "/run/test"
SERVICE = "gpu-broker.service"
EXPORTER = "gpu-broker-exporter.service"
OF_GROUP, OTHER = 65533, 65534  # users that are nobody's
NAMED_SOCKET = "/run/gpu-broker/guests/a.sock"
LATE_SOCKET = "/run/gpu-broker/guests/late.sock"
DROP_IN = "/etc/gpu-broker/config.toml.d/site.toml"


def systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def of_service(name, service=SERVICE):
    return systemctl("show", "--value", f"--property={name}", service)


def group_id(name="gpu-broker-guests"):
    return grp.getgrnam(name).gr_gid


def as_user(uid, groups, *command, socket=guests.SOCKET):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", *groups, "env", f"LD_PRELOAD={guests.PRELOAD}",
            "NVSHIM_LOG=1", f"NVSHIM_SOCKET={socket}", *command]


def of_group(*command, socket=guests.SOCKET):
    return as_user(OF_GROUP, [f"--groups={group_id()}"], *command, socket=socket)


def await_new_supervisor(old):
    deadline = time.monotonic() + guests.PATIENCE_S
    while of_service("ActiveState") != "active" or of_service("MainPID") in ("0", old):
        if time.monotonic() > deadline:
            guests.fail(f"no new supervisor after {old}: {systemctl('show', SERVICE)}")
        time.sleep(0.05)


def caller(socket):
    guest = guests.Guest(*of_group(f"{HERE}/bin/caller", socket=socket))
    guest.expect("calling")
    return guest


def by_name():
    return {guest["name"]: guest for worker in guests.stats()["workers"] for guest in worker["guests"]}


def first_guest():
    if of_service("ActiveState") != "inactive":
        guests.fail("the broker runs before somebody needs it")
    said = subprocess.run(of_group(f"{HERE}/clients/bin/nvidia-smi"), stdout=subprocess.PIPE, text=True, check=False)
    if said.returncode != 0 or "H100" not in said.stdout:
        guests.fail(f"nvidia-smi of a user of the group ends with {said.returncode}: {said.stdout}")
    if "guest" not in of_service("StatusText"):
        guests.fail(f"the status of the service is '{of_service('StatusText')}'")
    refused = subprocess.run(as_user(OTHER, ["--clear-groups"], f"{HERE}/clients/bin/nvidia-smi"),
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if refused.returncode == 0 or "may not connect" not in refused.stderr:
        guests.fail(f"nvidia-smi of another user ends with {refused.returncode}: {refused.stderr}")


def asks(groups):
    """Another user asks the broker, as a member of `groups`."""
    return subprocess.run(["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", *groups, guests.BROKERCTL, "guests", "list"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


def operators():
    admin = asks([f"--groups={group_id('gpu-broker-admin')}"])
    if admin.returncode != 0 or "NUMBER" not in admin.stdout:
        guests.fail(f"a user of the group gpu-broker-admin is told '{admin.stderr}'")
    other = asks(["--clear-groups"])
    if other.returncode != 1 or "users of the group gpu-broker-admin" not in other.stderr:
        guests.fail(f"a user who may not ask is told '{other.stderr}'")
    guests.ctl("guests", "add", "late")
    made = os.stat(LATE_SOCKET)
    if made.st_gid != group_id() or stat.S_IMODE(made.st_mode) != 0o660:
        guests.fail(f"the socket of a guest that was added is {made}")
    guest = caller(LATE_SOCKET)
    if by_name()["late"]["processes"] != 1:
        guests.fail(f"a process of the guest that was added is not its: {by_name()}")
    guest.finish()
    guests.ctl("guests", "remove", "late", "--force")


def reload():
    limit_of = lambda: by_name()["a"]["limits"]["objects"]["limit"]  # noqa: E731
    os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
    for text, limit in (('limit = "objects=4711"', 4711), ('limit = "objects=x"', 4711), ("", 131072)):
        with open(DROP_IN, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(DROP_IN, 0o644)
        status = subprocess.run(["systemctl", "reload", SERVICE], check=False).returncode
        if (status == 0) != (text != 'limit = "objects=x"') or of_service("ActiveState") != "active":
            guests.fail(f"systemctl reload of '{text}' ends with {status}, the service is {of_service('ActiveState')}")
        if limit_of() != limit:
            guests.fail(f"after a reload of '{text}' a guest may have {limit_of()} objects")
    shutil.rmtree(os.path.dirname(os.path.dirname(DROP_IN)))
    with open("/run/test/log", encoding="utf-8") as log:
        if f"{DROP_IN}:1: " not in log.read():
            guests.fail("the log does not say where the mistake was")


def disturb(what, copier, disturbance):
    """A disturbance of the supervisor that nobody else may notice."""
    before, old = by_name(), of_service("MainPID")
    disturbance(int(old))
    newcomer = caller(NAMED_SOCKET)  # waits in the socket, which is systemd's, while there is no supervisor
    await_new_supervisor(old)
    now = by_name()
    if {name: now[name]["worker_pid"] for name in before} != {name: before[name]["worker_pid"] for name in before}:
        guests.fail(f"{what}: guests were {before}, and are {now}")
    if now["a"]["processes"] != before["a"]["processes"] + 1:
        guests.fail(f"{what}: a process of guest a has not joined its guest: {now['a']}")
    newcomer.finish()
    if copier.process.poll() is not None:
        guests.fail(f"{what}: a guest that copies has ended")


def bite(supervisor):
    """Lets the supervisor hang until the watchdog ends it. That takes longer than a program waits for a broker."""
    os.kill(supervisor, signal.SIGSTOP)
    await_new_supervisor(str(supervisor))


def stop(copier, staying):
    workers = supervisors.workers()
    stopping = subprocess.Popen(["systemctl", "stop", "gpu-broker.socket", "gpu-broker-guest@a.socket", SERVICE])
    copier.finish()
    staying.finish()
    if stopping.wait(guests.PATIENCE_S) != 0:
        guests.fail("systemctl stop fails")
    supervisors.await_gone(workers, "systemctl stop leaves workers")
    if of_service("Result") != "success":
        guests.fail(f"the service has stopped with {of_service('Result')}")


def await_exporter(status, says):
    """Until /readyz is answered that; the exporter listens a moment after systemd has started it."""
    deadline = time.monotonic() + guests.PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen("http://127.0.0.1:9401/readyz", timeout=guests.PATIENCE_S) as answer:
                said = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            said = error.code, error.read().decode()
        except urllib.error.URLError as error:
            said = 0, str(error)
        if said[0] == status and says in said[1]:
            return
        if time.monotonic() > deadline:
            guests.fail(f"/readyz of the exporter is answered {said}; {status}, '{says}' is right")
        time.sleep(0.05)


def start_exporter():
    systemctl("start", EXPORTER)
    await_exporter(200, "ready")
    with open(f"/proc/{of_service('MainPID', EXPORTER)}/status", encoding="utf-8") as file:
        ids = dict(line.rstrip().split(":\t", 1) for line in file if line.startswith(("Uid", "Groups", "CapEff")))
    users = [0, pwd.getpwnam("gpu-broker").pw_uid]
    if int(ids["Uid"].split()[0]) in users or str(group_id("gpu-broker-admin")) not in ids["Groups"].split() or \
            int(ids["CapEff"], 16) != 0:
        guests.fail(f"the exporter runs as {ids}")


def exporter_without_broker():
    await_exporter(503, "no gpu-broker answers")
    if of_service("ActiveState") != "inactive":
        guests.fail("a question of the exporter's has started the broker")
    systemctl("stop", EXPORTER)
    if of_service("Result", EXPORTER) != "success":
        guests.fail(f"the exporter has stopped with {of_service('Result', EXPORTER)}")


def main():
    first_guest()
    start_exporter()
    copier = guests.Guest(*of_group(f"{HERE}/bin/copy_until_told"))
    copier.expect("copying")
    staying = caller(NAMED_SOCKET)
    if "a" not in by_name():
        guests.fail(f"the guest of gpu-broker-guest@a.socket is none of {list(by_name())}")
    operators()
    reload()
    disturb("restart", copier, lambda _: systemctl("restart", SERVICE))
    disturb("SIGKILL", copier, lambda supervisor: os.kill(supervisor, signal.SIGKILL))
    disturb("the watchdog", copier, bite)
    stop(copier, staying)
    exporter_without_broker()
    print("started by a socket, restarted, killed, hung, stopped: no guest has noticed")


if __name__ == "__main__":
    try:
        main()
    finally:
        with open("/run/test/log", encoding="utf-8") as log:
            print(log.read())
