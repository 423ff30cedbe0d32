// Clerk as far as a backend sees it: its keys, session tokens, signed webhooks. Prints its port.
//   GET  /.well-known/jwks.json   the keys
//   POST /token {claims}          a session token; `_fresh` makes a new key first, `_stranger` signs with a key nobody knows.
//                                 Says too what `@clerk/backend` itself makes of it.
//   POST /webhook {id, event, age} headers and body, signed by `svix`
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { pathToFileURL } from "node:url";

const load = createRequire(`${process.env.TINTYPE_NODE_CLIENTS}/`);
const use = (name) => import(pathToFileURL(load.resolve(name)).href);
const { SignJWT, exportJWK } = await use("jose");
const { verifyToken } = await use("@clerk/backend");
const { Webhook } = await use("svix");

const newKey = () => ({ kid: `ins_${randomUUID()}`, ...generateKeyPairSync("rsa", { modulusLength: 2048 }) });
const webhook = new Webhook(process.argv[2]);
let keys = [newKey()];
let asked = 0;
let issuer;

async function token({ _fresh, _stranger, _parties = ["https://pictures.example"], ...changed }) {
  if (_fresh) keys = [newKey()];
  const key = _stranger ? newKey() : keys[0];
  const now = Math.floor(Date.now() / 1000);
  const usual = { azp: "https://pictures.example", exp: now + 60, iat: now, nbf: now - 10, iss: issuer, sid: "sess_1", sub: "user_1", v: 2 };
  const claims = Object.fromEntries(Object.entries({ ...usual, ...changed }).filter(([, value]) => value !== null));
  const signed = await new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: key.kid, typ: "JWT" }).sign(key.privateKey);
  const pem = keys[0].publicKey.export({ type: "spki", format: "pem" });
  let accepted = true;
  try {
    await verifyToken(signed, { jwtKey: pem, authorizedParties: _parties });
  } catch {
    accepted = false;
  }
  return { token: signed, accepted };
}

function sign({ id, event, age = 0 }) {
  const at = new Date(Date.now() - age * 1000);
  const body = JSON.stringify(event);
  const headers = { "svix-id": id, "svix-timestamp": `${Math.floor(at / 1000)}`, "svix-signature": webhook.sign(id, at, body) };
  return { headers, body };
}

async function jwks() {
  asked += 1;
  return { keys: await Promise.all(keys.map(async (key) => ({ ...(await exportJWK(key.publicKey)), kid: key.kid, use: "sig", alg: "RS256" }))) };
}

const ways = { "/token": token, "/webhook": sign, "/.well-known/jwks.json": jwks, "/asked": () => ({ asked }) };
const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const answer = await ways[request.url](JSON.parse(Buffer.concat(parts).toString() || "{}"));
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(answer));
});
server.listen(0, "127.0.0.1", () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  console.log(server.address().port);
});
