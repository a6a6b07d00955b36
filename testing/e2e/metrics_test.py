#!/usr/bin/python3
"""Laws of the metrics, as a real Prometheus sees them. Runs under testing/with-broker for the places of things; the
supervisor, the exporter and Prometheus are its own.

1. What the exporter says obeys the rules that promtool knows, but for the labels that are dcgm-exporter's.
2. Prometheus gets what each guest holds and what it was refused, and sums over guests are the broker's totals.
3. A guest's name comes through whatever bytes it has.
4. Prometheus understands each query of the dashboard, and finds something for those that always have something.
5. Without a broker there is `gpubroker_up 0` and no other sample; /readyz says why, /healthz is well. With the next broker
   all is as before.
6. Where it cannot listen, and where others could ask who may not, the exporter says so and ends."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402
import monitors  # noqa: E402
import supervisors  # noqa: E402
import takers  # noqa: E402

MIB = 1 << 20
ODD = 'o\\dd "\udcff'  # a byte that is no UTF-8
ODD_LABEL = 'o\\\\dd \\"\\xff'
PLAIN_LIMIT = 3  # clients


def check_rules(text):
    """promtool's complaints are those that dcgm-exporter gets, and of its metrics alone."""
    result = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, check=False)
    complaints = [line for line in result.stdout.splitlines()
                  if not (line.startswith("DCGM_") and "camelCase" in line)]
    if complaints:
        guests.fail(f"promtool ({result.returncode}): {complaints}")


def quoted(text):
    """As PromQL writes a string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def check_sums(prometheus):
    stats = guests.stats()
    prometheus.await_query("gpubroker_guests", stats["guests"])
    prometheus.await_query("gpubroker_workers", len(stats["workers"]))
    for metric, total in (("processes", "processes"), ("files", "files"), ("clients", "clients"), ("objects", "objects"),
                          ("video_memory_bytes", "memory_bytes"), ("refusals_total", "refusals")):
        prometheus.await_query(f"sum(gpubroker_guest_{metric})", stats[total])
    prometheus.await_query("sum(gpubroker_guest_opens_total) + sum(gpubroker_guest_ioctls_total)", stats["frames"])
    prometheus.await_query("gpubroker_gpu_memory_used_bytes", stats["memory_bytes"])
    prometheus.await_query("DCGM_FI_DEV_FB_USED", stats["memory_bytes"] // MIB)
    [gpu] = stats["gpus"]
    prometheus.await_query(f"gpubroker_gpu_memory_size_bytes{{uuid={quoted(gpu['uuid'])},model={quoted(gpu['name'])}}}",
                           gpu["memory_bytes"])


def check_guests(prometheus, supervisor):
    plain, odd = takers.Taker(supervisor.socket_of("plain")), takers.Taker(supervisor.socket_of(ODD))
    plain.take("files 2")
    plain.take("clients 2")
    plain.take(f"video {4 * MIB}")
    plain.take(f"video {MIB}")
    plain.take("clients 1")
    plain.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    odd.take("files 1")
    odd.take(f"video {2 * MIB}")
    odd.take(f"pinned {MIB}")
    for guest, held in (("plain", {"files": 2, "clients": 3, "processes": 1, "video_memory_bytes": 5 * MIB,
                                   "pinned_memory_bytes": 0, "clients_limit": PLAIN_LIMIT, "opens_total": 2}),
                        (ODD_LABEL, {"files": 1, "clients": 1, "video_memory_bytes": 2 * MIB, "pinned_memory_bytes": MIB})):
        for metric, value in held.items():
            prometheus.await_query(f"gpubroker_guest_{metric}{{guest={quoted(guest)}}}", value)
    prometheus.await_query('gpubroker_guest_limit_refusals_total{guest="plain",kind="clients"}', 1)
    prometheus.await_query('gpubroker_guest_refusals_total{guest="plain",reason="over_limit"}', 1)
    prometheus.await_query("sum(gpubroker_guest_limit_refusals_total)", 1)
    prometheus.await_query("gpubroker_uid_video_memory_bytes", 7 * MIB)
    check_sums(prometheus)
    plain.take("free")
    prometheus.await_query('gpubroker_guest_video_memory_bytes{guest="plain"}', 0)
    check_sums(prometheus)
    return plain, odd


def check_dashboard(prometheus):
    for panel, target in monitors.dashboard_queries():
        found = prometheus.query(target["expr"])
        if not found and "> 0" not in target["expr"] and "_limit_" not in target["expr"]:
            guests.fail(f"the dashboard's panel '{panel['title']}' shows nothing: {target['expr']}")


def expect_status(exporter, path, wanted, says=""):
    status, text = exporter.get(path)
    if status != wanted or says not in text:
        guests.fail(f"{path} is answered {status}: {text}; {wanted} and '{says}' are right")


def check_without_broker(exporter, prometheus, supervisor):
    supervisor.end(signal.SIGKILL)
    prometheus.await_query("gpubroker_up", 0)
    prometheus.await_query('sum({__name__=~"gpubroker_.*|DCGM_.*", __name__!="gpubroker_up"})', None)
    prometheus.await_query('up{job="gpu-broker"}', 1)  # the exporter itself is well
    expect_status(exporter, "/readyz", 503, "no gpu-broker answers")
    expect_status(exporter, "/healthz", 200)
    supervisor.start()
    prometheus.await_query("gpubroker_up", 1)
    expect_status(exporter, "/readyz", 200)
    check_sums(prometheus)  # the guests have gone on


def check_addresses(exporter):
    """`exporter` listens where the second one is to."""
    for arguments, says in (([f"--listen={exporter.address}"], "Address already in use"),
                            (["--listen=0.0.0.0:0"], "--allow-remote"), (["--listen=nowhere"], "ADDRESS:PORT")):
        result = subprocess.run([monitors.EXPORTER, *arguments], stderr=subprocess.PIPE, text=True, check=False,
                                timeout=guests.PATIENCE_S)
        if result.returncode != 1 or says not in result.stderr:
            guests.fail(f"the exporter with {arguments} ends with {result.returncode}: {result.stderr}")


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-metrics-", dir="/tmp")
    try:
        supervisor = supervisors.Supervisor(folder, ["plain", ODD], f"--limit=clients={PLAIN_LIMIT}")
        exporter = monitors.Exporter(folder)
        expect_status(exporter, "/readyz", 200)
        check_addresses(exporter)
        prometheus = monitors.Prometheus(folder, exporter)
        takers_there = check_guests(prometheus, supervisor)
        check_rules(exporter.get("/metrics")[1])
        check_dashboard(prometheus)
        check_without_broker(exporter, prometheus, supervisor)
        for taker in takers_there:
            taker.finish()
        exporter.process.send_signal(signal.SIGTERM)
        if exporter.process.wait(guests.PATIENCE_S) != 0:
            guests.fail(f"the exporter ends with {exporter.process.returncode}")
    finally:
        monitors.clean_up()
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
