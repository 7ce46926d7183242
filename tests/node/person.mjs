// Whom the official TypeScript client asks for tokens: a person, told on standard output where to go, one line each time,
// whose browser's answer comes on standard input. `kept` has what the client has saved, `said` what it did.
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const redirectUrl = 'http://127.0.0.1:33418/callback';

export const answered = async () => new URLSearchParams((await lines.next()).value);

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
