// The official TypeScript client, given only a URL: `node login.mjs URL MODE TOOL ARGUMENTS`.
// It prints where the person has to go, one line, and reads the answer's query from standard input.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { answered, person } from './person.mjs';

const [url, mode, tool, args] = process.argv.slice(2);
const said = { registered: null, logins: 0 };
const kept = {};
const provider = {
  ...person(kept, said),
  saveClientInformation: client => {
    kept.client = client;
    said.registered = client.client_id;
  },
};
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const client = new Client({ name: 'typescript', version: '1.0.0' }, { versionNegotiation: { mode } });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(await answered());
    return null;
  }
};
const client = (await connect()) ?? (await connect());
said.result = (await client.callTool({ name: tool, arguments: JSON.parse(args) })).structuredContent;
said.scope = kept.tokens.scope;
await client.close();
console.log(JSON.stringify(said));
process.exit(0);
