// Whom the official TypeScript client asks for tokens: a person, told on standard output where to go, one line each time,
// whose browser's answer comes on standard input. `kept` has what the client has saved, `said` what it did.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const redirectUrl = 'http://127.0.0.1:33418/callback';

const answered = async () => new URLSearchParams((await lines.next()).value);

export const person = (kept, said) => ({
  redirectUrl,
  clientMetadata: { client_name: 'TypeScript', redirect_uris: [redirectUrl], token_endpoint_auth_method: 'none' },
  state: () => 'state-of-typescript',
  clientInformation: () => kept.client,
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
});

// A connection of the official client for this person. `withLogin` does what a client does whose person has to log in:
// it waits for the answer and does the same once more.
export const connecting = (url, mode, options) => {
  let transport;
  const connect = async () => {
    transport = new StreamableHTTPClientTransport(new URL(url), options);
    const client = new Client({ name: 'typescript', version: '1.0.0' }, { versionNegotiation: { mode } });
    await client.connect(transport);
    return client;
  };
  const withLogin = async does => {
    try {
      return await does();
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      await transport.finishAuth(await answered());
      return does();
    }
  };
  return { connect, withLogin };
};
