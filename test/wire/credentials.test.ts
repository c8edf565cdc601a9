import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { after, describe, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { toJson } from "@bufbuild/protobuf";
import { TimestampSchema, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { decodeJwt } from "jose";
import {
  AuthenticateResponseSchema,
  AuthenticationService,
  WhoAmIResponseSchema,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { SERVICES } from "../../src/server/routes.ts";
import { query } from "../support/cluster.ts";
import { startService, transportTo, WIRES } from "../support/service.ts";

const run = promisify(execFile);

const service = await startService();
after(() => service.stop());
const token = await service.logIn();

/** What the database says, past the service. */
const found = {
  apiKey: await one<{ id: string }>("select id from api_keys"),
  serviceKey: await one<{ id: string }>("select id from service_keys"),
  organization: await one<{ create_time: Date }>("select create_time from organizations"),
  catalogue: await query<{ name: string; scope: string }>(
    service.connection,
    'select name, scope from permissions order by name collate "C"',
  ),
};
const catalogue = found.catalogue.map(({ name }) => name);
const organization = {
  id: service.organizationId,
  name: "acme",
  createTime: jsonTime(found.organization.create_time),
};

const byApiKey = {
  principal: { id: found.apiKey.id, type: "PRINCIPAL_TYPE_API_KEY", displayName: "test" },
  organization,
  permissions: catalogue.filter((name) => name.startsWith("calls.")),
  credential: { id: found.apiKey.id, type: "CREDENTIAL_TYPE_API_KEY" },
};
const byInternalKey = {
  principal: { id: found.serviceKey.id, type: "PRINCIPAL_TYPE_SERVICE", displayName: "test" },
  permissions: catalogue,
  credential: { id: found.serviceKey.id, type: "CREDENTIAL_TYPE_SERVICE_KEY" },
};
const keyHeaders = ["x-api-key", "x-internal-key", "x-org-id"];

/** Each credential, and the whole answer about it: see assertAnswer(). */
const CREDENTIALS = [
  {
    name: "an API key in X-API-Key",
    headers: { "X-API-Key": service.apiKey },
    decision: byApiKey,
    stripHeaders: keyHeaders,
  },
  {
    name: "an API key as Bearer",
    headers: { Authorization: `Bearer ${service.apiKey}` },
    decision: byApiKey,
    stripHeaders: ["authorization", ...keyHeaders],
  },
  {
    name: "a user token",
    headers: { Authorization: `Bearer ${token}` },
    decision: {
      principal: {
        id: service.admin.id,
        type: "PRINCIPAL_TYPE_USER",
        displayName: "Administrator",
        email: service.admin.email,
        role: "owner",
      },
      organization,
      permissions: catalogue,
      credential: {
        id: decodeJwt(token)["sid"],
        type: "CREDENTIAL_TYPE_ACCESS_TOKEN",
        // The token's own end, long before its session's.
        expireTime: jsonTime(new Date(Number(decodeJwt(token).exp) * 1000)),
      },
    },
    stripHeaders: ["authorization", ...keyHeaders],
  },
  {
    name: "an internal key",
    headers: { "X-Internal-Key": service.internalKey },
    decision: { ...byInternalKey, allOrganizations: true },
    stripHeaders: keyHeaders,
  },
  {
    name: "an internal key that names an organization",
    headers: { "X-Internal-Key": service.internalKey, "X-Org-Id": service.organizationId },
    decision: { ...byInternalKey, organization },
    stripHeaders: keyHeaders,
  },
] satisfies readonly {
  name: string;
  headers: Record<string, string>;
  decision: object;
  stripHeaders: string[];
}[];

const tagsOf = new Map<string, unknown>();

/** It says what is expected and no more, but for its revision, and has the tags that it has over every wire. */
function assertAnswer(answer: unknown, { name, decision, stripHeaders }: (typeof CREDENTIALS)[number]): void {
  const { revision, cacheTags, ...rest } = answer as { revision: string; cacheTags: string[] };
  assert.match(revision, /^[\w-]+$/);
  assert.ok(cacheTags.length > 0);
  tagsOf.set(name, tagsOf.get(name) ?? cacheTags);
  assert.deepEqual(cacheTags, tagsOf.get(name));
  const { credential } = decision;
  const end = "expireTime" in credential ? { cacheExpireTime: credential.expireTime } : {};
  assert.deepEqual(rest, { ...decision, stripHeaders, ...end });
}

for (const { protocol, http } of WIRES) {
  describe(`${protocol} over HTTP/${http}`, () => {
    for (const credential of CREDENTIALS) {
      const { name, headers, decision } = credential;
      test(`Authenticate decides about ${name} as over every other wire`, async () => {
        const client = createClient(AuthenticationService, transportTo(service.url, protocol, http));
        const answer = await client.authenticate({ headers: fieldsOf(headers) });
        assertAnswer(toJson(AuthenticateResponseSchema, answer), credential);
      });

      test(`WhoAmI finds ${name} in the call's own headers`, async () => {
        const client = createClient(AuthenticationService, transportTo(service.url, protocol, http, headers));
        assert.deepEqual(toJson(WhoAmIResponseSchema, await client.whoAmI({})), decision);
      });
    }
  });
}

for (const httpVersion of ["1.1", "2"] as const) {
  for (const { name, headers, decision } of CREDENTIALS) {
    test(`WhoAmI finds ${name} in a GET over HTTP/${httpVersion}`, async () => {
      const transport = createConnectTransport({ baseUrl: service.url, httpVersion, useHttpGet: true });
      const answer = await createClient(AuthenticationService, transport).whoAmI({}, { headers });
      assert.deepEqual(toJson(WhoAmIResponseSchema, answer), decision);
    });
  }
}

describe("grpcurl, which knows nothing but the port", () => {
  test("lists every service", async (t) => {
    const text = await grpcurl(t, "HOST", "list");
    const published = [
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ];
    if (text !== undefined) {
      const own = SERVICES.map(({ typeName }) => typeName);
      assert.deepEqual(text.trim().split("\n"), [...published, ...own].sort());
    }
  });

  test("describes AuthenticationService with its access rules", async (t) => {
    const text = await grpcurl(t, "HOST", "describe", "latchkey.v1.AuthenticationService");
    if (text !== undefined) {
      assert.match(text, /^latchkey\.v1\.AuthenticationService is a service:$/m);
      for (const { name, input, output, methodKind } of AuthenticationService.methods) {
        const answer = `${methodKind === "server_streaming" ? "stream " : ""}.${output.typeName}`;
        const words = `rpc ${name} ( .${input.typeName} ) returns ( ${answer} )`;
        assert.ok(text.includes(words), text);
      }
      assert.match(text, /name: "auth\.authenticate"/);
    }
  });

  for (const credential of CREDENTIALS) {
    const { name, headers, decision } = credential;
    test(`asks Authenticate about ${name}`, async (t) => {
      const message = JSON.stringify({ headers: fieldsOf(headers) });
      const method = "latchkey.v1.AuthenticationService/Authenticate";
      const text = await grpcurl(t, "-d", message, "HOST", method);
      if (text !== undefined) {
        assertAnswer(JSON.parse(text), credential);
      }
    });

    test(`presents ${name} to WhoAmI`, async (t) => {
      const method = "latchkey.v1.AuthenticationService/WhoAmI";
      const text = await grpcurl(t, ...flagsOf(headers), "HOST", method);
      if (text !== undefined) {
        assert.deepEqual(JSON.parse(text), decision);
      }
    });
  }
});

for (const protocol of ["grpc", "grpcweb", "connect"]) {
  describe(`buf curl by ${protocol}, which knows nothing but the port`, () => {
    const curl = async (method: string, ...parameters: string[]) => {
      const flags = ["curl", "--http2-prior-knowledge", "--protocol", protocol, ...parameters];
      const { stdout } = await run("buf", [
        ...flags,
        `${service.url}/${AuthenticationService.typeName}/${method}`,
      ]);
      return JSON.parse(stdout);
    };

    // That the protocols agree about the others is told above.
    const presented = protocol === "grpc" ? CREDENTIALS : CREDENTIALS.slice(-2);
    for (const credential of presented) {
      const { name, headers, decision } = credential;
      test(`asks Authenticate about ${name}`, async () => {
        const message = JSON.stringify({ headers: fieldsOf(headers) });
        assertAnswer(await curl("Authenticate", "--data", message), credential);
      });

      test(`presents ${name} to WhoAmI`, async () => {
        assert.deepEqual(await curl("WhoAmI", ...flagsOf(headers), "--data", "{}"), decision);
      });
    }
  });
}

/** Runs grpcurl with `HOST` in its place, or skips the test where there is none. */
async function grpcurl(t: TestContext, ...parameters: string[]): Promise<string | undefined> {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), join(homedir(), "go", "bin")];
  const command = folders.map((folder) => join(folder, "grpcurl")).find(existsSync);
  if (command === undefined) {
    t.skip("grpcurl is not installed: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest");
    return undefined;
  }
  const host = `127.0.0.1:${service.port}`;
  const { stdout } = await run(command, ["-plaintext", ...parameters.map((p) => (p === "HOST" ? host : p))]);
  return stdout;
}

function flagsOf(headers: Record<string, string>): string[] {
  return fieldsOf(headers).flatMap(({ name, value }) => ["-H", `${name}: ${value}`]);
}

function fieldsOf(headers: Record<string, string>): { name: string; value: string }[] {
  return Object.entries(headers).map(([name, value]) => ({ name, value }));
}

async function one<Row extends object>(sql: string): Promise<Row> {
  const [row, ...more] = await query<Row>(service.connection, sql);
  assert.ok(row !== undefined && more.length === 0, sql);
  return row;
}

function jsonTime(date: Date): unknown {
  return toJson(TimestampSchema, timestampFromDate(date));
}
