// The official TypeScript client, given only a URL: `node login.mjs URL MODE TOOL ARGUMENTS`.
// It prints where the person has to go, one line, and reads the answer's query from standard input.
import { connecting, person } from './person.mjs';

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
const { connect, withLogin } = connecting(url, mode, { authProvider: provider });
const client = await withLogin(connect);
said.result = (await client.callTool({ name: tool, arguments: JSON.parse(args) })).structuredContent;
said.scope = kept.tokens.scope;
await client.close();
console.log(JSON.stringify(said));
process.exit(0);
