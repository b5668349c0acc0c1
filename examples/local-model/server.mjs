// A small OpenAI-compatible server for one model: node server.mjs MODEL.gguf [PORT]
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import { load, Refusal } from "./model.mjs";

const [path, port = "9100"] = process.argv.slice(2);
if (!path) {
  console.error("usage: node server.mjs MODEL.gguf [PORT]");
  process.exit(2);
}
const model = await load(path);
const created = Math.floor(Date.now() / 1000);
const maxBody = 1 << 20;

// What differs between the two calls: how the prompt is read, and the form of answers.
const chat = {
  prefix: "chatcmpl-",
  defaultMaxTokens: undefined, // as many as there is room for
  objects: { whole: "chat.completion", chunk: "chat.completion.chunk" },
  prompt: (body) => model.chat(messages(body)),
  whole: (text) => ({ message: { role: "assistant", content: text, refusal: null } }),
  first: { delta: { role: "assistant", content: "" } },
  piece: (text) => ({ delta: { content: text } }),
  last: { delta: {} },
};
const completion = {
  prefix: "cmpl-",
  defaultMaxTokens: 16,
  objects: { whole: "text_completion", chunk: "text_completion" },
  prompt: (body) => model.text(promptText(body)),
  whole: (text) => ({ text }),
  piece: (text) => ({ text }),
  last: { text: "" },
};

const server = createServer(async (req, res) => {
  try {
    await route(req, res);
  } catch (err) {
    fail(res, err);
  }
});
server.on("error", (err) => {
  console.error(err.message);
  process.exit(1);
});
server.listen(Number(port), "127.0.0.1", () => console.log(`${model.id} at http://127.0.0.1:${server.address().port}/v1`));

async function route(req, res) {
  const { pathname } = new URL(req.url, "http://localhost");
  const card = { id: model.id, object: "model", created, owned_by: "local" };
  switch (`${req.method} ${pathname}`) {
    case "POST /v1/chat/completions":
      return answer(chat, await read(req), res);
    case "POST /v1/completions":
      return answer(completion, await read(req), res);
    case "GET /v1/models":
      return json(res, 200, { object: "list", data: [card] });
    case `GET /v1/models/${model.id}`:
      return json(res, 200, card);
  }
  throw new Refusal(404, "not_found", `there is no ${req.method} ${pathname}`);
}

async function answer(form, body, res) {
  if (body.model !== model.id) throw new Refusal(404, "model_not_found", `the model ${JSON.stringify(body.model)} is not here; there is ${model.id}`, "model");
  const options = parameters(body, form);
  const prompt = form.prompt(body);
  const left = new AbortController();
  res.on("close", () => left.abort());

  const head = { id: form.prefix + randomUUID(), object: form.objects[body.stream ? "chunk" : "whole"], created: Math.floor(Date.now() / 1000), model: model.id };
  const choice = (content, finish = null) => ({ ...head, choices: [{ index: 0, ...content, logprobs: null, finish_reason: finish }] });
  const pieces = model.generate(prompt, options, left.signal);
  let text = "";
  let step;
  while (!(step = await pieces.next()).done) {
    text += step.value;
    if (body.stream) {
      begin(res, form.first && choice(form.first));
      await event(res, choice(form.piece(step.value)), left.signal);
    }
  }
  if (left.signal.aborted) return;
  const { finish, usage } = step.value;
  const used = {
    prompt_tokens: usage.input,
    completion_tokens: usage.output,
    total_tokens: usage.input + usage.output,
    prompt_tokens_details: { cached_tokens: usage.cached },
  };
  if (!body.stream) return json(res, 200, { ...choice(form.whole(text), finish), usage: used });
  begin(res, form.first && choice(form.first)); // an answer may be empty
  await event(res, choice(form.last, finish), left.signal);
  if (body.stream_options?.include_usage) await event(res, { ...head, choices: [], usage: used }, left.signal);
  res.end("data: [DONE]\n\n");
}

// Headers wait for the first piece: a call that fails before it has a status of its own.
function begin(res, first) {
  if (res.headersSent) return;
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  if (first) res.write(`data: ${JSON.stringify(first)}\n\n`);
}

async function event(res, data, signal) {
  if (!res.write(`data: ${JSON.stringify(data)}\n\n`) && !signal.aborted) await once(res, "drain", { signal }).catch(() => {});
}

async function read(req) {
  const parts = [];
  let size = 0;
  for await (const part of req) {
    if ((size += part.length) > maxBody) throw new Refusal(413, "request_too_large", `the body has more than ${maxBody} bytes`);
    parts.push(part);
  }
  let body;
  try {
    body = JSON.parse(Buffer.concat(parts));
  } catch (err) {
    throw new Refusal(400, "invalid_json", `the body is not JSON: ${err.message}`);
  }
  if (body === null || typeof body !== "object" || Array.isArray(body)) throw new Refusal(400, "invalid_json", "the body is not a JSON object");
  return body;
}

const invalid = (param, want) => new Refusal(400, "invalid_value", `${param} must be ${want}`, param);

function number(body, name, fallback, low, high, integer = false) {
  const n = body[name] ?? fallback;
  if (n === undefined) return n;
  const whole = integer ? Number.isInteger(n) : Number.isFinite(n);
  if (!whole || n < low || n > high) throw invalid(name, `${integer ? "an integer" : "a number"} from ${low} to ${high}`);
  return n;
}

function parameters(body, form) {
  // Refused rather than left out: the answer would not be what was asked for.
  for (const name of ["tools", "functions", "logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "echo", "suffix"]) {
    const v = body[name];
    if (v && !(typeof v === "object" && Object.keys(v).length === 0)) throw new Refusal(400, "unsupported_parameter", `${name} is not supported here`, name);
  }
  if ((body.response_format?.type ?? "text") !== "text") throw new Refusal(400, "unsupported_parameter", "response_format other than text is not supported here", "response_format");
  for (const name of ["n", "best_of"]) if ((body[name] ?? 1) !== 1) throw invalid(name, "1");
  const stop = body.stop == null ? [] : [body.stop].flat();
  if (stop.length > 4 || !stop.every((s) => typeof s === "string" && s)) throw invalid("stop", "a text or up to four, none empty");
  const limit = number(body, "max_tokens", form.defaultMaxTokens, 1, 1 << 20, true);
  return {
    stop,
    maxTokens: number(body, "max_completion_tokens", limit, 1, 1 << 20, true),
    temperature: number(body, "temperature", 1, 0, 2),
    topP: number(body, "top_p", 1, 0, 1),
    seed: number(body, "seed", undefined, 0, 2 ** 32 - 1, true),
  };
}

function messages(body) {
  if (!Array.isArray(body.messages) || body.messages.length === 0) throw invalid("messages", "a list of at least one message");
  return body.messages.map((m, i) => {
    const role = m?.role === "developer" ? "system" : m?.role;
    if (!["system", "user", "assistant"].includes(role)) throw invalid(`messages[${i}].role`, "system, developer, user or assistant");
    const parts = typeof m.content === "string" ? [{ type: "text", text: m.content }] : m.content;
    if (!Array.isArray(parts) || !parts.every((p) => p?.type === "text" && typeof p.text === "string")) throw invalid(`messages[${i}].content`, "a text or parts of type text");
    return { role, text: parts.map((p) => p.text).join("") };
  });
}

function promptText(body) {
  const prompts = [body.prompt].flat();
  if (prompts.length !== 1 || typeof prompts[0] !== "string") throw invalid("prompt", "one text");
  return prompts[0];
}

function json(res, status, body) {
  res.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

function fail(res, err) {
  if (res.destroyed) return; // nobody is there to be told
  if (!(err instanceof Refusal)) {
    console.error(err);
    err = new Refusal(500, "internal_error", "the model failed; see the server's log");
  }
  const type = err.status < 500 ? "invalid_request_error" : "server_error";
  const body = { error: { message: err.message, type, param: err.param, code: err.code } };
  if (res.headersSent) res.end(`data: ${JSON.stringify(body)}\n\n`);
  else json(res, err.status, body);
}
