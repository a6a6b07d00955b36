#!/usr/bin/python3
"""Law: settings that are read again count for guests that run. A guest at its limit gets more after a reload and less after
the next, keeps what it has, and a frame that waits for its turn waits no longer than the new rate wants; what a user's guests
hold together is bounded by the new limit; a class that a policy denies is denied from then on. A mistake in a file is told with
its line and changes nothing; what a running broker keeps is named. All of this holds as well for a worker that an earlier
supervisor has started, and for SIGHUP. Runs under testing/with-broker for the places of things; the supervisors are its own."""

import os
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path += [HERE, os.path.dirname(HERE)]
import guests  # noqa: E402
import supervisors  # noqa: E402
import takers  # noqa: E402

CROWD = 60  # threads that wait for their turn: the last of them, at a frame a second, beyond all patience
DENIED = "0x22"  # NV_ERR_INVALID_CLASS, as of a class that the driver does not know
DENY_CHANNELS = 'rule { class: 0xc56f verdict: DENY reason: "no work" }\n'  # AMPERE_CHANNEL_GPFIFO_A


class Settings:
    def __init__(self, path):
        self.path = path
        self.write()

    def write(self, *lines):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def reload(self, *lines):
        """What gpu-brokerctl says."""
        self.write(*lines)
        return guests.ctl("reload").stdout


def held(kind):
    [guest] = [guest for worker in guests.stats()["workers"] for guest in worker["guests"] if guest["name"] == "a"]
    return guest["limits"][kind]["used"], guest["limits"][kind]["limit"]


def expect_held(kind, wanted):
    if held(kind) != wanted:
        guests.fail(f"of {kind} the guest has and may have {held(kind)}, {wanted} is right")


def limits_change(settings, socket):
    settings.reload('limit = "clients=2"')
    taker = takers.Taker(socket)
    taker.take("files 1")
    taker.take("clients 3", takers.INSUFFICIENT_RESOURCES)
    settings.reload('limit = "clients=3"')
    taker.take("clients 1")
    taker.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    settings.reload('limit = "clients=1"')
    expect_held("clients", (3, 1))  # nothing is taken away
    taker.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    taker.take("free")
    taker.take("clients 2", takers.INSUFFICIENT_RESOURCES)
    expect_held("clients", (1, 1))
    # The same of all guests of a user.
    settings.reload('uid-limit = "clients=2"')
    taker.take("clients 2", takers.INSUFFICIENT_RESOURCES)
    settings.reload('uid-limit = "clients=3"')
    taker.take("clients 1")
    taker.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    settings.reload()
    taker.take("clients 1")
    taker.finish()


def rate_refusals():
    return sum(guest["limits"]["frames_per_second"]["refused_total"]
               for worker in guests.stats()["workers"] for guest in worker["guests"])


def start(taker, command):
    taker.process.stdin.write(f"{command}\n".encode())
    taker.process.stdin.flush()


def rate_changes(settings, socket, other_socket):
    """Frames that would wait for a minute are served at once when the rate is no more, or less narrow, whichever level it is
    at; so is that of another guest of the user, whose turn would come after all of these."""
    for level, after in (("limit", "none"), ("uid-limit", "none"), ("limit", "1000"), ("uid-limit", "1000")):
        taker, other = takers.Taker(socket), takers.Taker(other_socket)
        for one in (taker, other):
            one.take("files 1")
        settings.reload(f'{level} = "frames_per_second=1"')
        waited = rate_refusals()
        start(taker, f"crowd {CROWD}")
        guests.await_stats(lambda _, enough=waited + CROWD // 2: rate_refusals() >= enough, "frames do not wait")
        start(other, "crowd 2")  # one of them may come at once
        guests.await_stats(lambda _, enough=waited + CROWD: rate_refusals() >= enough, "another guest's frames do not wait")
        settings.reload(f'{level} = "frames_per_second={after}"')
        taker.expect("ok")
        other.expect("ok")
        settings.reload()
        taker.finish()
        other.finish()


def policy_changes(settings, socket, policy):
    taker = takers.Taker(socket)
    taker.take("files 1")
    taker.take("channel")
    settings.reload(f'policy = "{policy}"')
    taker.take("channel", DENIED)
    expect_held("channels", (1, 4096))  # what was made stays
    settings.reload()
    taker.take("channel")
    taker.finish()


def mistake_changes_nothing(settings, socket, policy):
    settings.reload('limit = "clients=1"')
    with open(policy + ".wrong", "w", encoding="utf-8") as file:
        file.write("\nrule { class: 0xc56f verdict: MAYBE }\n")
    taker = takers.Taker(socket)
    taker.take("files 1")
    for lines, wanted in ((["", 'limit = "clients=x"'], f"{settings.path}:2: "), (["limmit = 1"], "do you mean 'limit'"),
                          (['limit = "clients=7"', f'policy = "{policy}.wrong"'], f"{policy}.wrong:2")):
        settings.write(*lines)
        result = guests.ctl("reload", check=False)
        if result.returncode != 1 or wanted not in result.stderr:
            guests.fail(f"a reload of {lines} ends with {result.returncode}, '{result.stderr}' instead of '{wanted}'")
    taker.take("clients 2", takers.INSUFFICIENT_RESOURCES)
    expect_held("clients", (1, 1))
    taker.finish()


def kept_settings_are_named(settings):
    said = settings.reload('driver = "kernel"', "drain-ms = 0", 'limit = "clients=5"')
    if "next start: drain-ms\n" not in said:  # the driver is said on the command line
        guests.fail(f"of settings that a broker keeps a reload says '{said}'")
    settings.write()


def hang_up_is_a_reload(settings, supervisor, socket):
    taker = takers.Taker(socket)
    taker.take("files 1")
    settings.write('limit = "clients=1"')
    supervisor.process.send_signal(signal.SIGHUP)
    guests.await_stats(lambda _: held("clients")[1] == 1, "SIGHUP does nothing")
    taker.take("clients 2", takers.INSUFFICIENT_RESOURCES)
    settings.reload()
    taker.finish()


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-reload-", dir="/tmp")  # the path of a Unix socket has 107 bytes
    try:
        settings = Settings(os.path.join(folder, "config.toml"))
        policy = os.path.join(folder, "site.textproto")
        with open(policy, "w", encoding="utf-8") as file:
            file.write(DENY_CHANNELS)
        sockets = os.path.join(folder, "sockets")
        os.mkdir(sockets)
        supervisor = supervisors.Supervisor(sockets, ["a", "b"], "--guest-linger-ms=3600000", config=settings.path)
        socket = supervisor.socket_of("a")
        for _ in ("of this supervisor", "of the one before"):
            limits_change(settings, socket)
            rate_changes(settings, socket, supervisor.socket_of("b"))
            policy_changes(settings, socket, policy)
            mistake_changes_nothing(settings, socket, policy)
            hang_up_is_a_reload(settings, supervisor, socket)
            kept_settings_are_named(settings)
            staying = takers.Taker(socket)
            staying.take("files 1")
            supervisor.end(signal.SIGKILL)
            supervisor.start()
        staying.finish()
        print("limits, rates and policy of guests that run are those of the settings as they are")
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
