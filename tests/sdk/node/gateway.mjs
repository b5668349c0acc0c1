// A real ./caddy with Frontier, in front of a fake provider, both on loopback.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as send } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const providerKey = "sk-provider-0123456789";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// Not fetch: it adds what marks a browser, which Caddy's admin endpoint refuses.
function request(method, url, body) {
  return new Promise((resolve, reject) => {
    const r = send(url, { method, headers: { "Content-Type": "application/json" } }, async (answer) => {
      let text = "";
      for await (const part of answer) text += part;
      resolve({ status: answer.statusCode, body: text && JSON.parse(text) });
    });
    r.on("error", reject);
    r.end(body && JSON.stringify(body));
  });
}

const caddyfile = (v) => `
{
	admin 127.0.0.1:${v.admin}
	llm {
		data_dir ${v.dir}/data
		provider openai {
			base_url ${v.provider}/v1
			api_key ${providerKey}
		}
		provider anthropic {
			base_url ${v.provider}/v1
			api_key ${providerKey}
		}
		provider gemini {
			base_url ${v.provider}/v1beta
			api_key ${providerKey}
		}
		provider dead {
			base_url http://127.0.0.1:${v.dead}/v1
			connect_timeout 1s
		}
		route assistant {
			variant stable openai/gpt-4o
		}
		route claude {
			variant stable anthropic/claude-sonnet-4-5
		}
		route opus {
			variant stable anthropic/claude-opus-5-5
		}
		route pro {
			variant stable gemini/gemini-3-pro-preview
		}
		route sentiment {
			match model gpt-4
			variant stable openai/gpt-4 {
				prompt sentiment@production
			}
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
http://127.0.0.1:${v.port} {
	llm openai
}
`;

export class Gateway {
  static async start() {
    const g = new Gateway();
    g.dir = mkdtempSync(join(tmpdir(), "frontier-"));
    const provider = spawn(process.env.FRONTIER_PROVIDER, { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = await once(provider.stdout, "data");
    g.provider = line.toString().trim();
    const v = { dir: g.dir, provider: g.provider, admin: await freePort(), port: await freePort(), dead: await freePort() };
    const config = join(g.dir, "Caddyfile");
    writeFileSync(config, caddyfile(v));
    const env = { ...process.env, HOME: g.dir, XDG_DATA_HOME: g.dir, XDG_CONFIG_HOME: g.dir };
    delete env.OPENAI_API_KEY;
    const caddy = spawn(process.env.FRONTIER_CADDY, ["run", "--adapter", "caddyfile", "--config", config], { env, stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    caddy.stderr.on("data", (b) => (log += b));
    g.processes = [caddy, provider];
    g.url = `http://127.0.0.1:${v.port}`;
    g.admin = `http://127.0.0.1:${v.admin}/llm`;
    for (let i = 0; ; i++) {
      try {
        if ((await request("GET", g.admin + "/")).status === 200) return g;
      } catch {
        // not yet
      }
      if (i === 100) {
        await g.stop();
        throw new Error(log);
      }
      await sleep(100);
    }
  }

  async stop() {
    for (const p of this.processes) {
      p.kill();
      if (p.exitCode === null) await once(p, "exit");
    }
    rmSync(this.dir, { recursive: true });
  }

  api(method, path, body) {
    return request(method, this.admin + path, body);
  }

  // What the provider was asked since the last reset.
  async requests() {
    return (await request("GET", this.provider + "/__requests")).body ?? [];
  }

  async reset() {
    await request("GET", this.provider + "/__reset");
  }

  // The trace of a call: it can be read a moment after the answer.
  async trace(id) {
    for (let i = 0; i < 100; i++) {
      const { status, body } = await this.api("GET", "/traces/" + id);
      if (status === 200) return body;
      await sleep(50);
    }
    throw new Error("no trace " + id);
  }

  // Waits until the provider has noticed that its caller left.
  async gone() {
    for (let i = 0; i < 40; i++) {
      if ((await this.requests()).some((r) => r.gone)) return true;
      await sleep(50);
    }
    return false;
  }
}
