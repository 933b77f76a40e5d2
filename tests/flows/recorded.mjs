// Makes calls through the official SDK for Node, one after another, and prints what each of them yielded.
//
// Arguments: a folder whose node_modules hold the SDK, and the base URL. Standard input: [[name, ...arguments], ...].

import { createRequire } from "node:module";
import { json } from "node:stream/consumers";

const [installed, baseURL] = process.argv.slice(2);
const require = createRequire(`${installed}/`);
const OpenAI = require("openai");
const { makeParseableTextFormat } = require("openai/lib/parser");
const { responses } = new OpenAI({ baseURL, maxRetries: 0 });

const CALLS = {
  async *create(body) {
    yield await responses.create(body);
  },
  async *events(body) {
    yield* await responses.create(body);
  },
  async *stream(body) {
    const stream = responses.stream(body);
    yield* stream;
    yield await stream.finalResponse();
  },
  async *parse(body) {
    const format = makeParseableTextFormat(body.text.format, JSON.parse);
    yield await responses.parse({ ...body, text: { ...body.text, format } });
  },
  async *retrieve(id) {
    yield await responses.retrieve(id);
  },
  async *resume(id, after) {
    yield* await responses.retrieve(id, { stream: true, starting_after: after });
  },
  async *items(id) {
    yield* responses.inputItems.list(id);
  },
  async *delete(id) {
    yield await responses.delete(id);
  },
};

async function yielded([name, ...args]) {
  const seen = [];
  try {
    for await (const value of CALLS[name](...args)) seen.push(value ?? null);
  } catch (error) {
    seen.push({ raised: error.constructor.name, status: error.status ?? null, message: error.message });
  }
  return seen;
}

const all = [];
for (const call of await json(process.stdin)) all.push(await yielded(call));
process.stdout.write(JSON.stringify(all));
