// The vendors' packages, unmodified: OpenAI's reaching Claude and Gemini, Anthropic's reaching OpenAI and Gemini.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { Gateway } from "./gateway.mjs";

const user = (content) => [{ role: "user", content }];
const models = ["claude", "opus", "pro"];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const chatTools = [{ type: "function", function: { name: "get_weather", parameters: schema } }];
const messagesTools = [{ name: "get_weather", input_schema: schema }];
const cities = ["Paris", "Oslo"];

let gateway, openai, anthropic;
before(async () => {
  gateway = await Gateway.start();
  openai = new OpenAI({ baseURL: gateway.url + "/v1", apiKey: "sk-caller", maxRetries: 0, timeout: 20_000 });
  anthropic = new Anthropic({ baseURL: gateway.url, apiKey: "sk-caller", maxRetries: 0, timeout: 20_000 });
});
after(() => gateway?.stop());
beforeEach(() => gateway.reset());

for (const model of models) {
  test(`chat: ${model}`, async () => {
    const { data, response } = await openai.chat.completions.create({ model, messages: user("hello there") }).withResponse();
    assert.equal(data.choices[0].message.content, "you said: hello there");
    assert.equal(data.choices[0].finish_reason, "stop");
    assert.equal(data.usage.prompt_tokens_details.cached_tokens, 7);
    const trace = await gateway.trace(response.headers.get("x-request-id"));
    assert.equal(trace.usage.input_tokens, 30);
    assert.equal(trace.response.choices[0].message.content, "you said: hello there");
  });

  test(`chat streamed, with its helper: ${model}`, async () => {
    const stream = openai.chat.completions.stream({ model, messages: user("a b"), stream_options: { include_usage: true } });
    const done = await stream.finalChatCompletion();
    assert.equal(done.choices[0].message.content, "you said: a b");
    assert.equal(done.usage.completion_tokens, 12);
  });

  for (const streamed of [false, true]) {
    test(`chat with tools, ${streamed ? "streamed" : "whole"}: ${model}`, async () => {
      const ask = { model, messages: user("weather?"), tools: chatTools };
      const { choices } = streamed ? await openai.chat.completions.stream(ask).finalChatCompletion() : await openai.chat.completions.create(ask);
      const { message } = choices[0];
      assert.deepEqual(message.tool_calls.map((c) => JSON.parse(c.function.arguments).city), cities);
      const results = message.tool_calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: "sunny" }));
      const next = await openai.chat.completions.create({ ...ask, messages: [...user("weather?"), message, ...results] });
      assert.equal(next.choices[0].message.content, "you said: sunny sunny");
    });
  }

  test(`structured output: ${model}`, async () => {
    const answer = await openai.chat.completions.parse({ model, messages: user("x"), response_format: zodResponseFormat(z.object({ label: z.string() }), "label") });
    assert.deepEqual(answer.choices[0].message.parsed, { label: "positive" });
  });

  test(`responses: ${model}`, async () => {
    const answer = await openai.responses.create({ model, input: "hi you", instructions: "be brief" });
    assert.equal(answer.output_text, "you said: hi you");
    const stream = openai.responses.stream({ model, input: "weather?", tools: [{ type: "function", name: "get_weather", parameters: schema, strict: false }] });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    const calls = (await stream.finalResponse()).output.filter((item) => item.type === "function_call");
    assert.deepEqual(calls.map((c) => JSON.parse(c.arguments).city), cities);
    assert.equal(kinds.at(-1), "response.completed");
  });
}

for (const model of ["claude", "assistant", "pro"]) {
  test(`messages: ${model}`, async () => {
    const { data, response } = await anthropic.messages.create({ model, max_tokens: 100, system: "Be brief.", messages: user("hello there") }).withResponse();
    assert.equal(data.content[0].text, "you said: hello there");
    assert.equal(data.stop_reason, "end_turn");
    const trace = await gateway.trace(response.headers.get("request-id"));
    assert.equal(trace.front, "messages");
    assert.equal(trace.response.content[0].text, "you said: hello there");
  });

  test(`messages streamed: ${model}`, async () => {
    const stream = anthropic.messages.stream({ model, max_tokens: 100, messages: user("one two three") });
    let text = "";
    stream.on("text", (t) => (text += t));
    const message = await stream.finalMessage();
    assert.equal(text, "you said: one two three");
    assert.equal(message.content[0].text, text);
    assert.ok(message.usage.output_tokens > 0);
  });

  test(`messages with tools: ${model}`, async () => {
    const ask = { model, max_tokens: 100, tools: messagesTools };
    const message = await anthropic.messages.stream({ ...ask, messages: user("weather?") }).finalMessage();
    const calls = message.content.filter((b) => b.type === "tool_use");
    assert.deepEqual(calls.map((c) => c.input.city), cities);
    const results = calls.map((c) => ({ type: "tool_result", tool_use_id: c.id, content: "sunny" }));
    const next = await anthropic.messages.create({ ...ask, messages: [...user("weather?"), { role: "assistant", content: message.content }, ...user(results)] });
    assert.equal(next.content[0].type, "text");
  });
}

test("a conversation goes round", async () => {
  const messages = [];
  for (const model of ["pro", "claude", "assistant", "opus", "pro", "assistant"]) {
    messages.push(...user("weather?"));
    const { message } = (await openai.chat.completions.create({ model, messages, tools: chatTools })).choices[0];
    messages.push(message, ...message.tool_calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: "sunny" })));
  }
  const requests = await gateway.requests();
  assert.equal(requests.length, 6);
  assert.ok(!requests.some((r) => r.body.includes("frontier")));
});

for (const [model, kind] of [
  ["openai/error-400", Anthropic.BadRequestError],
  ["openai/error-429", Anthropic.RateLimitError],
  ["gemini/error-503", Anthropic.InternalServerError],
]) {
  test(`errors for Anthropic's package: ${model}`, async () => {
    await assert.rejects(anthropic.messages.create({ model, max_tokens: 10, messages: user("x") }), (e) => {
      assert.ok(e instanceof kind, e);
      assert.equal(e.error.type, "error");
      return true;
    });
  });
}

test("a stream that is cut is an error, not an end", async () => {
  await assert.rejects(anthropic.messages.stream({ model: "openai/cut", max_tokens: 10, messages: user("a b c d") }).finalMessage(), Anthropic.APIError);
  await assert.rejects(openai.chat.completions.stream({ model: "anthropic/cut", messages: user("a b c d") }).finalChatCompletion(), OpenAI.APIError);
});

test("count_tokens", async () => {
  assert.equal((await anthropic.messages.countTokens({ model: "claude", messages: user("x") })).input_tokens, 14);
  await assert.rejects(anthropic.messages.countTokens({ model: "assistant", messages: user("x") }), Anthropic.BadRequestError);
});
