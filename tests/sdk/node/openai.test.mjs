// The official openai package, unmodified, against a running gateway.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { Gateway, providerKey } from "./gateway.mjs";

let gateway, client;
const user = (content) => [{ role: "user", content }];

before(async () => {
  gateway = await Gateway.start();
  const { status } = await gateway.api("POST", "/prompts", { name: "sentiment", template: "Classify sentiment: positive, negative, or neutral.\n\nText: {{text}}" });
  assert.equal(status, 201);
  await gateway.api("PUT", "/prompts/sentiment/aliases/production", { version: 1 });
  client = new OpenAI({ baseURL: gateway.url + "/v1", apiKey: "sk-caller", maxRetries: 0, timeout: 20_000 });
});
after(() => gateway?.stop());
beforeEach(() => gateway.reset());

test("chat", async () => {
  const { data, response } = await client.chat.completions.create({ model: "gpt-4o", messages: user("hello there"), temperature: 0.5 }).withResponse();
  assert.equal(data.choices[0].message.content, "you said: hello there");
  assert.equal(response.headers.get("llm-model"), "openai/gpt-4o");
  assert.equal(response.headers.get("set-cookie"), null);
  const [request] = await gateway.requests();
  assert.deepEqual(request.header.Authorization, ["Bearer " + providerKey]);
  assert.ok(!JSON.stringify(request).includes("sk-caller"));
  assert.deepEqual(JSON.parse(request.body), { model: "gpt-4o", messages: user("hello there"), temperature: 0.5 });
  const trace = await gateway.trace(data._request_id);
  assert.equal(trace.status, "ok");
  assert.equal(trace.usage.input_tokens, data.usage.prompt_tokens);
});

test("stream", async () => {
  const { data: stream, response } = await client.chat.completions.create({ model: "gpt-4o", messages: user("one two three"), stream: true }).withResponse();
  let text = "";
  let last;
  for await (const chunk of stream) {
    assert.equal(chunk.choices.length, 1, "usage was not asked for and must not be sent");
    text += chunk.choices[0].delta.content ?? "";
    last = chunk;
  }
  assert.equal(text, "you said: one two three");
  assert.equal(last.choices[0].finish_reason, "stop");
  const trace = await gateway.trace(response.headers.get("x-request-id"));
  assert.equal(trace.usage.output_tokens, 5);
  assert.equal(trace.response.choices[0].message.content, "you said: one two three");
});

test("stream with its helper, usage asked for", async () => {
  const stream = client.chat.completions.stream({ model: "gpt-4o", messages: user("a b"), stream_options: { include_usage: true } });
  const done = await stream.finalChatCompletion();
  assert.equal(done.choices[0].message.content, "you said: a b");
  assert.equal(done.usage.completion_tokens, 4);
});

const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }];
const cities = (calls) => calls.map((c) => JSON.parse(c.function.arguments).city);

test("tools in parallel", async () => {
  const answer = await client.chat.completions.create({ model: "assistant", messages: user("weather?"), tools });
  const { message } = answer.choices[0];
  assert.deepEqual(cities(message.tool_calls), ["Paris", "Oslo"]);
  const results = message.tool_calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: "sunny" }));
  const next = await client.chat.completions.create({ model: "assistant", messages: [...user("weather?"), message, ...results], tools });
  assert.equal(next.choices[0].message.content, "you said: weather?");
});

test("tools streamed", async () => {
  const stream = client.chat.completions.stream({ model: "assistant", messages: user("weather?"), tools });
  const done = await stream.finalChatCompletion();
  assert.deepEqual(cities(done.choices[0].message.tool_calls), ["Paris", "Oslo"]);
});

test("structured output", async () => {
  const Label = z.object({ label: z.string() });
  const answer = await client.chat.completions.parse({ model: "assistant", messages: user("x"), response_format: zodResponseFormat(Label, "label") });
  assert.deepEqual(answer.choices[0].message.parsed, { label: "positive" });
});

test("images and unknown fields pass untouched", async () => {
  const content = [
    { type: "text", text: "what is it?" },
    { type: "image_url", image_url: { url: "data:image/png;base64,AAAA", detail: "low" } },
  ];
  await client.chat.completions.create({ model: "assistant", messages: user(content), x_new: { a: [1, { b: null }] } });
  const body = JSON.parse((await gateway.requests())[0].body);
  assert.deepEqual(body.messages[0].content, content);
  assert.deepEqual(body.x_new, { a: [1, { b: null }] });
});

test("embeddings", async () => {
  const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a", "bb"], dimensions: 8 });
  assert.deepEqual(answer.data.map((d) => d.embedding.length), [8, 8]);
});

test("completions", async () => {
  const answer = await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: "say it" });
  assert.equal(answer.choices[0].text, "you said: say it");
});

test("responses", async () => {
  const answer = await client.responses.create({ model: "gpt-4o", input: "hi you", instructions: "be brief" });
  assert.equal(answer.output_text, "you said: hi you");
});

test("responses streamed", async () => {
  const stream = client.responses.stream({ model: "assistant", input: "hi you" });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  assert.equal((await stream.finalResponse()).output_text, "you said: hi you");
  assert.equal(kinds[0], "response.created");
  assert.equal(kinds.at(-1), "response.completed");
});

test("the prompt parameter", async () => {
  const { response } = await client.responses.create({ model: "gpt-4", input: "", prompt: { id: "sentiment", version: "1", variables: { text: "fine" } } }).withResponse();
  assert.equal(response.headers.get("llm-prompt"), "sentiment/1");
  const body = JSON.parse((await gateway.requests())[0].body);
  assert.equal(body.prompt, undefined);
  assert.ok(JSON.stringify(body.input).includes("Text: fine"));
});

for (const [model, kind, status] of [
  ["error-400", OpenAI.BadRequestError, 400],
  ["error-404", OpenAI.NotFoundError, 404],
  ["error-422", OpenAI.UnprocessableEntityError, 422],
  ["error-429", OpenAI.RateLimitError, 429],
  ["error-503", OpenAI.InternalServerError, 503],
]) {
  test(`errors of the provider: ${model}`, async () => {
    await assert.rejects(client.chat.completions.create({ model: "openai/" + model, messages: user("x") }), (e) => {
      assert.ok(e instanceof kind, e);
      assert.equal(e.status, status);
      assert.ok(e.message.includes("fake error"));
      assert.ok(!JSON.stringify(e.error).includes(providerKey));
      return true;
    });
  });
}

test("an unknown model", async () => {
  const bare = new OpenAI({ baseURL: gateway.url + "/v1", apiKey: "x", maxRetries: 0 });
  await assert.rejects(bare.chat.completions.create({ model: "", messages: user("x") }), (e) => e.status === 400 || e.status === 404);
});

test("our retries are not multiplied by the SDK's", async () => {
  const retrying = client.withOptions({ maxRetries: 2 });
  await assert.rejects(retrying.chat.completions.create({ model: "openai/error-503", messages: user("x") }), OpenAI.InternalServerError);
  assert.equal((await gateway.requests()).length, 2);
});

test("fallback", async () => {
  const { data, response } = await client.chat.completions.create({ model: "rescued", messages: user("help") }).withResponse();
  assert.equal(data.choices[0].message.content, "you said: help");
  assert.equal(response.headers.get("llm-variant"), "stable");
});

test("a stream that is cut is an error, not an end", async () => {
  const { data: stream, response } = await client.chat.completions.create({ model: "openai/cut", messages: user("a b c d"), stream: true }).withResponse();
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, OpenAI.APIError);
  const trace = await gateway.trace(response.headers.get("x-request-id"));
  assert.equal(trace.status, "cut");
  assert.ok(trace.usage.estimated);
});

test("timeouts", async () => {
  await assert.rejects(client.chat.completions.create({ model: "openai/silent", messages: user("x") }, { timeout: 300 }), OpenAI.APIConnectionTimeoutError);
  assert.ok(await gateway.gone(), "the provider was not told within two seconds");
});

test("cancellation", async () => {
  const { data: stream, response } = await client.chat.completions.create({ model: "openai/stall", messages: user("a b c d"), stream: true }).withResponse();
  for await (const _ of stream) break; // leaving the loop aborts
  assert.ok(await gateway.gone(), "the provider was not told within two seconds");
  assert.equal((await gateway.trace(response.headers.get("x-request-id"))).status, "cancelled");
});

test("models", async () => {
  const models = [];
  for await (const m of client.models.list()) models.push(m.id);
  assert.ok(models.includes("assistant") && models.includes("gpt-4"));
});

// It is copied here: see the Makefile.
test("examples/clients/node-openai.mjs", async () => {
  const example = fileURLToPath(new URL("./node-openai.mjs", import.meta.url));
  const env = { ...process.env, OPENAI_BASE_URL: gateway.url + "/v1", OPENAI_API_KEY: "sk-caller" };
  const { stdout } = await promisify(execFile)(process.execPath, [example], { env });
  assert.equal(stdout, "you said: Say hello.\n");
  assert.equal((await gateway.requests()).length, 1);
});
