"""A real ./caddy with Frontier, in front of a fake provider, both on loopback."""

import json
import os
import pathlib
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request

import openai
import pytest

PROVIDER_KEY = "sk-provider-0123456789"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


CADDYFILE = """
{
	admin 127.0.0.1:%(admin)d
	llm {
		data_dir %(data)s
		provider openai {
			base_url %(provider)s/v1
			api_key %(key)s
		}
		provider anthropic {
			base_url %(provider)s/v1
			api_key %(key)s
		}
		provider gemini {
			base_url %(provider)s/v1beta
			api_key %(key)s
		}
		provider keyless {
			base_url %(provider)s/v1
		}
		provider dead {
			base_url http://127.0.0.1:%(dead)d/v1
			connect_timeout 1s
		}
		route sentiment {
			match model gpt-4
			match prompt sentiment
			variant stable openai/gpt-4 {
				weight 50
				prompt sentiment@production
			}
			variant candidate openai/gpt-4o-mini {
				weight 50
				prompt sentiment@candidate
			}
			sticky user
		}
		route assistant {
			variant stable openai/gpt-4o
		}
		route reasoner {
			variant stable openai/o3-mini {
				param reasoning_effort low
			}
		}
		route claude {
			variant stable anthropic/claude-sonnet-4-5
		}
		route flash {
			variant stable gemini/gemini-2.5-flash
		}
		route pro {
			variant stable gemini/gemini-3-pro-preview
		}
		route opus {
			variant stable anthropic/claude-opus-5-5
		}
		route reviewer {
			match model claude-3-opus
			variant stable anthropic/claude-sonnet-4-5 {
				weight 50
				prompt review@production
			}
			variant candidate openai/gpt-4o {
				weight 50
				prompt review@candidate
			}
			sticky user
		}
		route unsaid {
			variant stable openai/gpt-4o {
				weight 0
			}
			variant candidate anthropic/claude-sonnet-4-5 {
				weight 100
			}
			fallback stable
		}
		route overloaded {
			variant stable gemini/gemini-3-pro-preview {
				weight 0
			}
			variant candidate anthropic/error-529 {
				weight 100
			}
			fallback stable
		}
		route rescued {
			variant stable openai/gpt-4o {
				weight 0
			}
			variant candidate dead/gpt-4o {
				weight 100
			}
			fallback stable
		}
	}
}
http://127.0.0.1:%(port)d {
	llm openai
}
http://127.0.0.1:%(keyless)d {
	llm keyless
}
http://127.0.0.1:%(claude)d {
	llm anthropic
}
"""


class Gateway:
    def __init__(self, tmp):
        self.provider = None
        self.processes = []
        self.tmp = tmp

    def start(self):
        provider = subprocess.Popen([os.environ["FRONTIER_PROVIDER"]], stdout=subprocess.PIPE, text=True)
        self.processes.append(provider)
        self.provider = provider.stdout.readline().strip()
        port, admin, keyless, claude = free_port(), free_port(), free_port(), free_port()
        config = self.tmp / "Caddyfile"
        config.write_text(CADDYFILE % {
            "admin": admin, "port": port, "keyless": keyless, "claude": claude, "provider": self.provider, "data": self.tmp / "data", "key": PROVIDER_KEY, "dead": free_port()})
        env = dict(os.environ, HOME=str(self.tmp), XDG_DATA_HOME=str(self.tmp), XDG_CONFIG_HOME=str(self.tmp))
        env.pop("OPENAI_API_KEY", None)
        self.log = open(self.tmp / "caddy.log", "w+")
        self.processes.append(subprocess.Popen(
            [os.environ["FRONTIER_CADDY"], "run", "--adapter", "caddyfile", "--config", config], stderr=self.log, stdout=self.log, env=env))
        self.keyless, self.claude = f"http://127.0.0.1:{keyless}", f"http://127.0.0.1:{claude}"
        self.url, self.admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}/llm"
        for _ in range(100):
            try:
                if call("GET", self.admin + "/")[0] == 200:
                    break
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.1)
        else:
            raise RuntimeError(pathlib.Path(self.log.name).read_text())

    def stop(self):
        for p in reversed(self.processes):
            p.terminate()
        for p in self.processes:
            p.wait(timeout=10)

    def api(self, method, path, body=None):
        return call(method, self.admin + path, body)

    def cli(self, *args):
        """What `caddy llm` prints, and its exit code."""
        done = subprocess.run([os.environ["FRONTIER_CADDY"], "llm", *args, "--address", self.admin.removeprefix("http://").removesuffix("/llm")],
                              capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    def requests(self):
        """What the provider was asked since the last time."""
        with urllib.request.urlopen(self.provider + "/__requests") as answer:
            seen = json.load(answer) or []
        urllib.request.urlopen(self.provider + "/__reset").close()
        return seen

    def trace(self, request_id, within=5):
        """The trace of a call: it can be read a moment after the answer."""
        assert re.fullmatch("[0-9a-f]{32}", request_id), request_id
        for _ in range(within * 20):
            status, trace = self.api("GET", "/traces/" + request_id)
            if status == 200:
                return trace
            time.sleep(0.05)
        raise AssertionError(f"no trace {request_id}: {trace}")

    def traces(self, query, count, within=5):
        """The rows of so many traces, when there are that many."""
        for _ in range(within * 20):
            rows = self.api("GET", f"/traces?limit=100&{query}")[1]["items"]
            if len(rows) >= count:
                break
            time.sleep(0.05)
        assert len(rows) == count, rows
        return rows


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    g = Gateway(tmp_path_factory.mktemp("frontier"))
    try:
        g.start()
        for template in ("Classify sentiment: positive, negative, or neutral.\n\nText: {{text}}",
                         "Classify the sentiment of the text below in one lowercase word.\n\nText: {{text}}\n\nAnswer:"):
            assert g.api("POST", "/prompts", {"name": "sentiment", "template": template})[0] == 201
        assert g.api("PUT", "/prompts/sentiment/aliases/production", {"version": 1})[0] == 200
        assert g.api("PUT", "/prompts/sentiment/aliases/candidate", {"version": 2})[0] == 200
        for template in ([{"role": "system", "content": "You review {{what}}."}], [{"role": "system", "content": "Review the {{what}} below."}, {"role": "user", "content": "Be kind."}]):
            assert g.api("POST", "/prompts", {"name": "review", "template": template})[0] == 201
        assert g.api("PUT", "/prompts/review/aliases/production", {"version": 1})[0] == 200
        assert g.api("PUT", "/prompts/review/aliases/candidate", {"version": 2})[0] == 200
        yield g
    finally:
        g.stop()


@pytest.fixture
def client(gateway):
    gateway.requests()
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key="sk-caller", max_retries=0, timeout=20)
