// The official TypeScript client does everything once: `node client.mjs legacy|auto http URL TOKEN` or `… stdio COMMAND ARGS…`.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const [mode, kind, ...rest] = process.argv.slice(2);
const said = { mode, kind, steps: [], heard: [] };
const waiting = [];
const hear = method => () => {
  said.heard.push(method);
  waiting.splice(0).forEach(wake => wake());
};
const hears = async method => {
  while (!said.heard.includes(method)) await new Promise(wake => waiting.push(wake));
};

const client = new Client(
  { name: 'typescript', version: '1.0.0' },
  { capabilities: { elicitation: {}, sampling: {} }, versionNegotiation: { mode } },
);
client.setRequestHandler('elicitation/create', async () => ({
  action: 'accept',
  content: { username: 'ann', email: 'ann@example.org' },
}));
for (const method of ['notifications/tools/list_changed', 'notifications/resources/updated'])
  client.setNotificationHandler(method, hear(method));

const transport =
  kind === 'http'
    ? new StreamableHTTPClientTransport(new URL(rest[0]), {
        requestInit: { headers: { authorization: `Bearer ${rest[1]}` } },
      })
    : new StdioClientTransport({ command: rest[0], args: rest.slice(1), env: process.env });
await client.connect(transport);

said.tools = (await client.listTools()).tools.length;
await client.callTool(
  { name: 'test_tool_with_progress', arguments: {} },
  { onprogress: ({ progress }) => said.steps.push(progress) },
);
const asked = await client.callTool({ name: 'test_elicitation', arguments: { message: 'Who are you?' } });
said.answer = asked.content[0].text;
const uri = 'test://watched-resource';
let subscription;
if (mode === 'legacy') await client.subscribeResource({ uri });
else {
  subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: [uri] });
  said.honoured = subscription.honoredFilter;
}
await client.callTool({ name: 'touch_watched', arguments: {} });
await client.callTool({ name: 'test_trigger_tool_change', arguments: {} });
await hears('notifications/resources/updated');
await hears('notifications/tools/list_changed');
await subscription?.close();
await client.close();
console.log(JSON.stringify(said));
process.exit(0);
