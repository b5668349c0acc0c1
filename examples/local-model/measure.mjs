// Asks the model for the sentiment of the reference scenario's ten texts, through Frontier, and prints what Frontier's
// traces have of it: node measure.mjs [GATEWAY] [ADMIN]
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const [gateway = "http://127.0.0.1:8080", admin = "http://127.0.0.1:2019"] = process.argv.slice(2);
const model = "SmolLM2-135M-Instruct";
const scenario = JSON.parse(readFileSync(new URL("../../internal/demo/scenario.json", import.meta.url)));
const labels = ["positive", "negative", "neutral"];
const right = "positive negative neutral negative positive neutral positive negative neutral positive".split(" "); // as a person reads them

const modes = {
  chat: { path: "/v1/chat/completions", body: (prompt) => ({ messages: [{ role: "user", content: prompt }] }), text: (c) => c.delta.content },
  completion: { path: "/v1/completions", body: (prompt) => ({ prompt }), text: (c) => c.text },
};

// Not fetch: it adds what marks a browser, which Caddy's admin endpoint refuses.
function send(method, url, body) {
  return new Promise((resolve, reject) => {
    const r = request(url, { method, headers: { "Content-Type": "application/json" } }, async (res) => {
      let text = "";
      for await (const part of res.setEncoding("utf8")) text += part;
      resolve({ status: res.statusCode, headers: res.headers, text });
    });
    r.on("error", reject).end(body && JSON.stringify(body));
  });
}

async function ask(mode, prompt) {
  const { status, headers, text } = await send("POST", gateway + mode.path, { model, temperature: 0, max_tokens: 32, stream: true, ...mode.body(prompt) });
  if (status !== 200) throw new Error(`${status}: ${text}`);
  const chunks = text.split("\n").filter((l) => l.startsWith("data: {")).map((l) => JSON.parse(l.slice(6)));
  const answer = chunks.map((c) => (c.choices[0] && mode.text(c.choices[0])) ?? "").join("");
  return { answer, id: headers["x-request-id"] };
}

// A trace can be read a moment after its answer.
async function trace(id) {
  for (let i = 0; i < 100; i++) {
    const { status, text } = await send("GET", `${admin}/llm/traces/${id}`);
    if (status === 200) return JSON.parse(text);
    await sleep(50);
  }
  throw new Error("no trace " + id);
}

const sum = (calls, of) => calls.reduce((n, c) => n + of(c.trace), 0);
const median = (list) => list.sort((a, b) => a - b)[(list.length - 1) >> 1];

const rows = [];
for (const [name, mode] of Object.entries(modes)) {
  for (const [prompt, versions] of Object.entries(scenario.prompts)) {
    for (const [v, template] of versions.entries()) {
      const calls = [];
      for (const record of scenario.records) calls.push(await ask(mode, template.replaceAll("{{text}}", record.text)));
      for (const c of calls) c.trace = await trace(c.id);
      const answers = calls.map((c) => c.answer.trim().toLowerCase());
      // The label that an answer names first, in whatever else it says.
      const named = answers.map((a) => labels.filter((l) => a.includes(l)).sort((x, y) => a.indexOf(x) - a.indexOf(y))[0]);
      rows.push({
        mode: name,
        prompt: `${prompt}/${v + 1}`,
        "first line right": answers.filter((a, i) => a.split("\n")[0] === right[i]).length,
        "first label right": named.filter((a, i) => a === right[i]).length,
        "input tokens": sum(calls, (t) => t.usage.input_tokens),
        "of them cached": sum(calls, (t) => t.usage.cached_input_tokens),
        "output tokens": sum(calls, (t) => t.usage.output_tokens),
        "first token p50, ms": Math.round(median(calls.map((c) => c.trace.ttft_ms))),
        "tokens/s after it": +((1000 * sum(calls, (t) => t.usage.output_tokens - 1)) / sum(calls, (t) => t.duration_ms - t.ttft_ms)).toFixed(1),
      });
      console.error(`${name} ${prompt}/${v + 1}: ${JSON.stringify(answers)}`);
    }
  }
}
console.table(rows);
