// A GGUF model on this machine's processor: messages to tokens, and tokens to text.
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import { getLlama, LlamaText, SpecialTokensText } from "node-llama-cpp";

const contextSize = 4096; // tokens of a prompt and its answer
const parallel = 2; // answers at a time; each has a context of its own
const longestQueue = 64; // calls that wait for one of those

// What is said of a failure to the caller, in OpenAI's terms.
export class Refusal extends Error {
  constructor(status, code, message, param = null) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

export async function load(path) {
  // The prebuilt package or an error that says what is missing; nothing is compiled or downloaded.
  // llama.cpp's threads wait for each other by spinning: more of them than free cores, and an answer takes minutes.
  const maxThreads = Math.max(1, availableParallelism() - 1);
  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, progressLogs: false, maxThreads });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({ contextSize, sequences: parallel });
  return new Model(basename(path, ".gguf").replace(/\.I?Q\d\w*$/i, ""), model, context);
}

class Model {
  #model;
  #free;
  #waiting = [];

  constructor(id, model, context) {
    this.id = id;
    this.#model = model;
    this.#free = Array.from({ length: parallel }, () => context.getSequence());
  }

  // The tokens of a plain text. What looks like one of the model's control tokens is text.
  text(prompt) {
    return this.#model.tokenize(prompt, false);
  }

  // The tokens of a conversation that the assistant is to continue, as the template in SmolLM2's file has it.
  chat(messages) {
    if (messages[0]?.role !== "system") {
      messages = [{ role: "system", text: "You are a helpful AI assistant named SmolLM, trained by Hugging Face" }, ...messages];
    }
    const turns = messages.flatMap((m) => [new SpecialTokensText(`<|im_start|>${m.role}\n`), m.text, new SpecialTokensText("<|im_end|>\n")]);
    return LlamaText([...turns, new SpecialTokensText("<|im_start|>assistant\n")]).tokenize(this.#model.tokenizer);
  }

  // Yields pieces of text as they come, and returns why it ended and what it took.
  // Ends without more ado when the signal is aborted.
  async *generate(prompt, { maxTokens, temperature, topP, seed, stop }, signal) {
    const room = contextSize - prompt.length - 1;
    if (prompt.length === 0) throw new Refusal(400, "invalid_prompt", "the prompt is empty");
    if (room < 1) throw new Refusal(400, "context_length_exceeded", `the prompt has ${prompt.length} tokens; the model takes ${contextSize} with its answer`);
    const sequence = await this.#acquire();
    try {
      // The beginning that this prompt shares with the sequence's last one is not computed again.
      await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
      const usage = { input: prompt.length, cached: sequence.nextTokenIndex, output: 0 };
      const limit = Math.min(maxTokens ?? room, room);
      const out = new Pieces(stop);
      let pending = []; // tokens that end in the middle of a character
      const tokens = sequence.evaluate(prompt.slice(usage.cached), { temperature, topP, topK: 0, seed, yieldEogToken: true });
      if (!signal.aborted) {
        for await (const token of tokens) {
          usage.output++; // the end mark is one of them
          if (signal.aborted || this.#model.isEogToken(token)) break;
          pending.push(token);
          const text = this.#model.detokenize(pending);
          const whole = !text.endsWith("\ufffd") || pending.length === 4;
          if (whole) pending = [];
          const piece = whole ? out.add(text) : "";
          if (piece) yield piece;
          if (out.stopped) break;
          if (usage.output === limit) {
            const rest = out.rest();
            if (rest) yield rest;
            return { finish: "length", usage };
          }
        }
      }
      const rest = out.rest();
      if (rest) yield rest;
      return { finish: "stop", usage };
    } finally {
      this.#release(sequence);
    }
  }

  // A caller that left while it waited is let through like any other, and goes at once.
  async #acquire() {
    if (this.#free.length > 0) return this.#free.pop();
    if (this.#waiting.length >= longestQueue) throw new Refusal(503, "overloaded", `${longestQueue} calls are waiting already`);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #release(sequence) {
    const next = this.#waiting.shift();
    if (next) next(sequence);
    else this.#free.push(sequence);
  }
}

// Text as it may be shown: up to a stop text, and nothing that could be the beginning of one.
class Pieces {
  stopped = false;
  #held = "";

  constructor(stop) {
    this.stop = stop;
  }

  add(text) {
    const held = this.#held + text;
    const at = Math.min(...this.stop.map((s) => held.indexOf(s)).filter((i) => i >= 0));
    this.stopped = at !== Infinity;
    let end = this.stopped ? at : held.length;
    for (let from = 0; !this.stopped && from < held.length; from++) {
      if (this.stop.some((s) => s.startsWith(held.slice(from)))) {
        end = from;
        break;
      }
    }
    this.#held = this.stopped ? "" : held.slice(end);
    return held.slice(0, end);
  }

  rest() {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }
}
