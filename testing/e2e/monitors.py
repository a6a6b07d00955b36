"""The exporter and a real Prometheus that scrapes it, on ports that the kernel chooses. To be used with guests.py."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import guests

EXPORTER = os.environ["NVSHIM_EXPORTER"]
SCRAPE_INTERVAL = "500ms"  # and no scrape may take longer: a busy machine has to be able to

DASHBOARD = "broker/exporter/grafana.json"
RATE_S = 5  # over which rates are taken, in place of what Grafana makes of a panel's width

started = []  # processes, so that none is left behind


def read_all(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def start(log_path, listening, *command):
    """Starts a server, whose log goes to `log_path`; returns it and what `listening` finds of its address there."""
    with open(log_path, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    started.append(process)
    deadline = time.monotonic() + guests.PATIENCE_S
    while not (found := re.search(listening, read_all(log_path))):
        if process.poll() is not None or time.monotonic() > deadline:
            guests.fail(f"{command[0]} does not listen: {read_all(log_path)}")
        time.sleep(0.01)
    return process, found[1]


def clean_up():
    for process in started:
        process.kill()
        process.wait()


def dashboard_queries():
    """(panel, target) of each query of the dashboard, with what Grafana puts in: all guests, and a time for rates."""
    with open(DASHBOARD, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    for panel in panels:
        for target in panel["targets"]:
            expression = target["expr"].replace("$guest", ".*").replace("$__rate_interval", f"{RATE_S}s")
            yield panel, {**target, "expr": expression}


class Exporter:
    def __init__(self, folder):
        self.process, self.address = start(os.path.join(folder, "exporter.log"), r"(127\.0\.0\.1:\d+)", EXPORTER,
                                           "--listen=127.0.0.1:0", f"--socket={guests.SOCKET}")

    def get(self, path):
        """The status and the text of an answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=guests.PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


class Prometheus:
    def __init__(self, folder, exporter):
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"scrape_configs": [{  # YAML reads JSON
                "job_name": "gpu-broker", "scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL,
                "static_configs": [{"targets": [exporter.address]}]}]}, file)
        self.process, self.address = start(
            os.path.join(folder, "prometheus.log"), r'"Listening on" address=(127\.0\.0\.1:\d+)', "prometheus",
            f"--config.file={config}", f"--storage.tsdb.path={folder}/prometheus", "--web.listen-address=127.0.0.1:0")

    def ask(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=guests.PATIENCE_S) as answer:
            return json.load(answer)["data"]["result"]

    def query(self, promql):
        """(labels, value) of each series, as it is now."""
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=promql)]

    def query_range(self, promql, begin, end, step_s):
        """(labels, times, values) of each series."""
        return [(one["metric"], *zip(*((when, float(value)) for when, value in one["values"])))
                for one in self.ask("query_range", query=promql, start=begin, end=end, step=step_s)]

    def await_query(self, promql, wanted):
        """Waits until the query has one series with the value `wanted`, or none where `wanted` is None."""
        deadline = time.monotonic() + guests.PATIENCE_S
        while (values := [value for _, value in self.query(promql)]) != ([] if wanted is None else [wanted]):
            if time.monotonic() > deadline:
                guests.fail(f"{promql} is {values}, {wanted} is right")
            time.sleep(0.05)
