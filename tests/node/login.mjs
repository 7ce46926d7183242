// The official TypeScript client, given only a URL: `node login.mjs URL MODE TOOL ARGUMENTS`.
// It prints where the person has to go, one line, and reads the answer's query from standard input.
import { createInterface } from 'node:readline';
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

const [url, mode, tool, args] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const said = { registered: null, logins: 0 };
const kept = {};
const redirectUrl = 'http://127.0.0.1:33418/callback';
const provider = {
  redirectUrl,
  clientMetadata: { client_name: 'TypeScript', redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none' },
  state: () => 'state-of-typescript',
  clientInformation: () => kept.client,
  saveClientInformation: client => {
    kept.client = client;
    said.registered = client.client_id;
  },
  tokens: () => kept.tokens,
  saveTokens: tokens => {
    kept.tokens = tokens;
  },
  redirectToAuthorization: to => {
    said.logins += 1;
    console.log(to.href);
  },
  saveCodeVerifier: verifier => {
    kept.verifier = verifier;
  },
  codeVerifier: () => kept.verifier,
};
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const client = new Client({ name: 'typescript', version: '1.0.0' }, { versionNegotiation: { mode } });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(new URLSearchParams((await lines.next()).value));
    return null;
  }
};
const client = (await connect()) ?? (await connect());
said.result = (await client.callTool({ name: tool, arguments: JSON.parse(args) })).structuredContent;
said.scope = kept.tokens.scope;
await client.close();
console.log(JSON.stringify(said));
process.exit(0);
