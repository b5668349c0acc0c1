// OpenAI's package for Node. It reads OPENAI_BASE_URL and OPENAI_API_KEY by itself:
//
//     npm install openai
//     OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=… node examples/clients/node-openai.mjs
import OpenAI from "openai";

const client = new OpenAI();
const answer = await client.chat.completions.create({ model: "gpt-4o-mini", messages: [{ role: "user", content: "Say hello." }] });
console.log(answer.choices[0].message.content);
