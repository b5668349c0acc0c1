"""A real MLflow server and a real ./caddy with Frontier, both on loopback.

Traces reach MLflow through a gate that can be shut, as a network can. They are
read back by MLflow's own client.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(what, ok, within=30):
    end = time.monotonic() + within
    while True:
        try:
            result = ok()
            if result:
                return result
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.1)


def call(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


class Server:
    """mlflow server, without the job runners that only its own evaluations need."""

    def __init__(self, tmp):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(tmp / "mlflow.log", "w+")
        env = dict(os.environ, HOME=str(tmp), MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_MODEL_CATALOG_URI="",
                   MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp}/mlflow.db", "--artifacts-destination", str(tmp / "artifacts"),
             "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"],
            cwd=tmp, env=env, stdout=self.log, stderr=self.log, start_new_session=True)

    def ready(self):
        wait(lambda: pathlib.Path(self.log.name).read_text(), lambda: urllib.request.urlopen(self.url + "/health").status == 200, within=120)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


class Gate:
    """Forwards TCP connections while it is open; shut, it cuts them and takes no more."""

    def __init__(self, port):
        self.target = port
        self.connections = []
        self.lock = threading.Lock()
        self.port = free_port()
        self.listener = None
        self.open()
        self.url = f"http://127.0.0.1:{self.port}"

    def open(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen()
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def shut(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for c in self.connections:
                try:
                    c.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.connections.clear()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with self.lock:
                self.connections += [client, server]
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


CADDYFILE = """
{
	admin 127.0.0.1:%(admin)d
	llm {
		data_dir %(data)s
		provider openai {
			base_url %(provider)s/v1
			api_key sk-provider
			price gpt-4o-mini 1000 2000
		}
		provider dead {
			base_url http://127.0.0.1:9/v1
			connect_timeout 1s
		}
		route sentiment {
			match model gpt-4
			variant stable openai/gpt-4o-mini {
				prompt sentiment@production
			}
		}
		route rescued {
			variant broken dead/gpt-4o {
				weight 100
			}
			variant stable openai/gpt-4o-mini {
				weight 0
			}
			fallback stable
		}
		traces {
			export mlflow %(mlflow)s {
				experiment %(experiment)s
			}
		}
	}
}
http://127.0.0.1:%(port)d {
	llm openai
}
"""


class Gateway:
    def __init__(self, tmp, mlflow, experiment):
        self.tmp, self.mlflow, self.experiment = tmp, mlflow, experiment
        self.port, self.admin_port = free_port(), free_port()
        self.url, self.admin = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin_port}"
        self.provider = subprocess.Popen([os.environ["FRONTIER_PROVIDER"]], stdout=subprocess.PIPE, text=True)
        self.upstream = self.provider.stdout.readline().strip()
        self.config = tmp / "Caddyfile"
        self.write()
        self.log = open(tmp / "caddy.log", "a+")

    def write(self, experiment=None):
        self.config.write_text(CADDYFILE % {
            "admin": self.admin_port, "port": self.port, "provider": self.upstream, "data": self.tmp / "data", "mlflow": self.mlflow,
            "experiment": experiment or self.experiment})

    def environment(self):
        # MLflow's own client has set its variable in this process.
        return dict({k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}, HOME=str(self.tmp), XDG_DATA_HOME=str(self.tmp), XDG_CONFIG_HOME=str(self.tmp), OPENAI_API_KEY="")

    def start(self):
        self.process = subprocess.Popen([os.environ["FRONTIER_CADDY"], "run", "--adapter", "caddyfile", "--config", self.config],
                                        stdout=self.log, stderr=self.log, env=self.environment())
        wait(lambda: pathlib.Path(self.log.name).read_text(), lambda: call("GET", self.admin + "/llm/")[0] == 200)

    def command(self, *args, code=0):
        """Runs `caddy llm …` as a user does."""
        p = subprocess.run([os.environ["FRONTIER_CADDY"], "llm", *args, "--address", f"127.0.0.1:{self.admin_port}"],
                           capture_output=True, text=True, env=self.environment(), timeout=60)
        assert p.returncode == code, p.stdout + p.stderr
        return p.stdout + p.stderr

    def reload(self):
        """With --force, as the file may be the same."""
        subprocess.run([os.environ["FRONTIER_CADDY"], "reload", "--force", "--adapter", "caddyfile", "--config", self.config, "--address", f"127.0.0.1:{self.admin_port}"],
                       env=self.environment(), capture_output=True, check=True, timeout=60)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)

    def api(self, method, path, body=None):
        status, answer = call(method, self.admin + "/llm" + path, body)
        assert status < 300, answer
        return answer

    def ask(self, model="gpt-4", text="I love it", headers=None, **more):
        """A call; returns the trace's id."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        request = urllib.request.Request(self.url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                answer.read()
                return answer.headers["X-Request-Id"]
        except urllib.error.HTTPError as e:
            assert "error" in model, e.read()
            return e.headers["X-Request-Id"]

    def exported(self):
        return self.api("GET", "/")["exports"][0]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("mlflow"))
    try:
        s.ready()
        yield s
    finally:
        s.stop()


@pytest.fixture(scope="session")
def gate(server):
    return Gate(server.port)


@pytest.fixture(scope="session")
def client(server):
    import mlflow

    mlflow.set_tracking_uri(server.url)
    return mlflow.MlflowClient()


PROMPT = "Classify sentiment: positive, negative, or neutral.\n\nText: {{text}}"


@pytest.fixture
def gateway(tmp_path, gate, request):
    g = Gateway(tmp_path, gate.url, request.node.name)
    try:
        g.start()
        g.api("POST", "/prompts", {"name": "sentiment", "template": "An older one: {{text}}"})
        g.api("POST", "/prompts", {"name": "sentiment", "template": PROMPT})
        g.api("PUT", "/prompts/sentiment/aliases/production", {"version": 2})
        yield g
        log = pathlib.Path(g.log.name).read_text()
        assert "panic" not in log
    finally:
        g.process.terminate()
        g.provider.terminate()
        g.process.wait(timeout=20)
        g.provider.wait(timeout=10)
