import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createCacheTags } from "../../src/authenticate/cache-tags.ts";
import type { WatchRevocationsResponse } from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { addServiceKey } from "../access/cast.ts";
import { refusedWith } from "../support/refusal.ts";
import {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  type Protocol,
  ServiceKeyService,
  startService,
  type TestService,
  transportTo,
  WIRES,
} from "../support/service.ts";

let service: TestService;
let replica: TestService;
let own: Record<string, string>;
before(async () => {
  service = await startService({ callers: "authenticated" });
  replica = await startService({ beside: service, callers: "authenticated" });
  own = { "x-internal-key": service.internalKey };
});
after(async () => {
  await replica.stop();
  await service.stop();
});

interface Watching {
  next(): Promise<WatchRevocationsResponse>;
  /** The rest of the stream is read until its end. */
  rest(): Promise<void>;
  end(): void;
}

function watching(
  at: TestService,
  headers: Record<string, string>,
  revision = "",
  wire: { readonly protocol: Protocol; readonly http: "1.1" | "2" } = { protocol: "grpc", http: "2" },
): Watching {
  const ending = new AbortController();
  const client = createClient(AuthenticationService, transportTo(at.url, wire.protocol, wire.http, headers));
  const messages = client.watchRevocations({ revision }, { signal: ending.signal })[Symbol.asyncIterator]();
  return {
    async next() {
      const { value, done } = await messages.next();
      assert.ok(done !== true, "the stream has ended");
      return value;
    },
    async rest() {
      while ((await messages.next()).done !== true);
    },
    end: () => ending.abort(),
  };
}

async function untilTold(watch: Watching, tag: string): Promise<WatchRevocationsResponse> {
  for (;;) {
    const message = await watch.next();
    if (message.cacheTags.includes(tag)) {
      return message;
    }
  }
}

test("what one replica revokes is told by all, opaquely, and what is told later is no less", async () => {
  const watches = [watching(service, own), watching(replica, own)];
  for (const watch of watches) {
    const { resync, revision } = await watch.next();
    assert.equal(resync, true);
    assert.notEqual(revision, "");
  }
  const apiKeys = service.client(ApiKeyService, { ...own, "x-org-id": service.organizationId });
  const { apiKey } = await apiKeys.createApiKey({ name: "told", permissions: ["calls.read"] });
  const id = apiKey?.id ?? "";
  const { revision } = await apiKeys.revokeApiKey({ id });
  assert.notEqual(revision, "");
  const tag = createCacheTags(service.core.keyHasher.deriveKey("cache tags"))(`key:${id}`);
  for (const watch of watches) {
    const told = await untilTold(watch, tag);
    assert.ok(!JSON.stringify(told.cacheTags).includes(id));
    watch.end();
  }
});

for (const wire of WIRES) {
  test(`it is told over ${wire.protocol} on HTTP/${wire.http}, and so is that a revision is none`, async () => {
    const watch = watching(service, own, "", wire);
    assert.equal((await watch.next()).resync, true);
    watch.end();
    await refusedWith("REVISION_INVALID", watching(service, own, "nonsense", wire).next());
    await refusedWith("REQUEST_INVALID", watching(service, own, "A".repeat(4097), wire).next());
    await refusedWith("CALLER_REJECTED", watching(service, {}, "", wire).next());
  });
}

test("the stream of a caller whose credential ends is ended, on each replica", async () => {
  const caller = await addServiceKey(service.core, { permissions: ["auth.authenticate"] });
  const watches = [service, replica].map((at) => watching(at, { "x-internal-key": caller.text }));
  for (const watch of watches) {
    await watch.next();
  }
  await service.client(ServiceKeyService, own).revokeServiceKey({ id: caller.id });
  for (const watch of watches) {
    await refusedWith("CALLER_REJECTED", watch.rest());
  }
});

test("to go on watching is no use of a key", async () => {
  const caller = await addServiceKey(service.core, { permissions: ["auth.authenticate"] });
  const watch = watching(service, { "x-internal-key": caller.text });
  for (let message = 0; message < 3; message++) {
    await watch.next();
  }
  watch.end();
  // A use is written down within seconds, and at the end.
  const counting = await startService({ beside: service });
  await counting.stop();
  const usage = await service.client(ServiceKeyService, own).getServiceKeyUsage({ id: caller.id });
  assert.ok(usage.days.reduce((sum, { allowed }) => sum + Number(allowed), 0) <= 1);
});

test("a stream ends when its client ends it, and well at the end of the service", async () => {
  const mortal = await startService({ beside: service });
  const [ended, served] = [watching(mortal, own), watching(mortal, own)];
  await ended.next();
  await served.next();
  ended.end();
  await assert.rejects(ended.rest(), (error) => ConnectError.from(error).code === Code.Canceled);
  await Promise.all([served.rest(), mortal.stop(10_000)]);
});

test("a create that is sent again is answered with the same revision, by another replica too", async () => {
  const request = { name: "answered again", idempotencyKey: "the-same-revision" };
  const first = await service.client(OrganizationService, own).createOrganization(request);
  assert.notEqual(first.revision, "");
  assert.deepEqual(await replica.client(OrganizationService, own).createOrganization(request), first);
});
