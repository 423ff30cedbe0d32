// `oauth2-mock-server`, unmodified, as an OpenID provider: `oidc_mock.mjs CLAIMS_FILE`. Prints its port. Before it signs a
// token it puts the claims of the file into it; `_strip` names claims to leave out.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const load = createRequire(`${process.env.TINTYPE_NODE_CLIENTS}/`);
const { OAuth2Server } = await import(pathToFileURL(load.resolve("oauth2-mock-server")).href);

const server = new OAuth2Server();
await server.issuer.keys.generate("RS256");
await server.start(0, "127.0.0.1");
server.issuer.url = `http://127.0.0.1:${server.address().port}`;
server.service.on("beforeTokenSigning", (token) => {
  const { _strip = [], ...claims } = JSON.parse(readFileSync(process.argv[2], "utf8"));
  Object.assign(token.payload, claims);
  for (const name of _strip) delete token.payload[name];
});
console.log(server.address().port);
