// The official TypeScript client over the sample shop, as a registered client: `node session.mjs URL MODE CLIENT ORDER`.
// It logs in, lists, cancels an open order, waits for its access token to end, and calls once more.
// It prints where the person has to go, one line each time, and reads the answer's query from standard input.
import { connecting, person } from './person.mjs';

const [url, mode, clientId, order] = process.argv.slice(2);
const said = { logins: 0, held: [], grants: [] };
const kept = { client: { client_id: clientId } };
const provider = {
  ...person(kept, said),
  saveTokens: tokens => {
    kept.tokens = tokens;
    said.held.push(tokens.access_token);
  },
};
const heardFetch = async (input, init) => {
  const grant = /grant_type=(\w+)/.exec(String(init?.body ?? ''));
  if (grant) said.grants.push(grant[1]);
  return fetch(input, init);
};
const { connect, withLogin } = connecting(url, mode, { authProvider: provider, fetch: heardFetch });
const client = await withLogin(connect);
const call = async (name, args) => client.callTool({ name, arguments: args });
said.tools = (await client.listTools()).tools.map(tool => tool.name);
said.open = (await call('list_orders', { status: 'open' })).structuredContent.items.map(one => one.id);
said.cancelled = await withLogin(() => call('cancel_order', { order_id: Number(order) }));
const { exp } = JSON.parse(Buffer.from(kept.tokens.access_token.split('.')[1], 'base64url').toString());
// Keycloak counts in whole seconds: within the last one the token is still good.
await new Promise(resolve => setTimeout(resolve, Math.max(0, (exp + 1) * 1000 - Date.now() + 20)));
said.after = await call('list_products', { limit: 1 });
said.scope = kept.tokens.scope;
await client.close();
console.log(JSON.stringify(said));
process.exit(0);
