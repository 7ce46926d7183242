// Calls over kept connections with pauses between them, by Node's own fetch, until standard input ends; each that meets
// the end of its connection is repeated once. What became of them is told as JSON in the end.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

const [url, tokens, atOnce, pauseS] = process.argv.slice(2);
const tried = [];
let over = false;
const ended = new Promise((done) => process.stdin.on("end", done).resume()).then(() => (over = true));

async function once(call) {
  const meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const params = { name: "work", arguments: { call, seconds: 0 }, _meta: meta };
  const headers = {
    authorization: `Bearer ${readFileSync(tokens, "utf8")}`,
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "work",
    traceparent: `00-${call}-${randomBytes(8).toString("hex")}-01`,
  };
  try {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
    const answer = await fetch(url, { method: "POST", headers, body });
    const text = await answer.text();
    return answer.status === 200 && text.includes(`done ${call}`) ? "good" : String(answer.status);
  } catch (error) {
    return String(error.cause?.code ?? error.cause?.message ?? error.message);
  }
}

async function loop() {
  while (!over) {
    const pause = new Promise((done) => setTimeout(done, Math.random() * pauseS * 1000));
    await Promise.race([pause, ended]);
    const one = { call: randomBytes(16).toString("hex"), again: "", first: "", second: "" };
    one.first = await once(one.call);
    if (one.first !== "good") {
      one.again = randomBytes(16).toString("hex");
      one.second = await once(one.again);
    }
    tried.push(one);
  }
}

await Promise.all(Array.from({ length: Number(atOnce) }, loop));
process.stdout.write(JSON.stringify({ version: process.versions.undici, tried }), () => process.exit(0));
