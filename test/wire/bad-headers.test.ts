import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import type { Reason } from "../../src/errors.ts";
import { ApiKeyService, OrganizationService, ServiceKeyService, startService } from "../support/service.ts";
import { assertOutcomes, shown } from "./outcomes.ts";
import { callHttp1, callHttp2, type Field, type RawAnswer, verdictOf } from "./raw-call.ts";

const service = await startService();
after(() => service.stop());

const token = await service.logIn();
const admin = { authorization: `Bearer ${token}` };
const umbrella = await service
  .client(OrganizationService, admin)
  .createOrganization({ name: "Umbrella" })
  .then(({ organization }) => organization?.id ?? assert.fail());
const second = {
  token: await service.logIn(),
  apiKey: await service
    .client(ApiKeyService, admin)
    .createApiKey({ name: "second", permissions: ["calls.read"] })
    .then(({ secret }) => secret),
  internalKey: await service
    .client(ServiceKeyService, admin)
    .createServiceKey({ name: "second" })
    .then(({ secret }) => secret),
};
const { apiKey, internalKey, organizationId } = service;

/** What is good: whose the credential is. */
type Outcome = Reason | "api key" | "user" | "service";

interface Case {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly outcome: Outcome;
  /** The outcome without the fields that HTTP/2 does not allow; by default there is none good left. */
  readonly without?: Outcome;
  /** Enough of its kind are sent as a call's own headers. */
  readonly onlyInMessage?: boolean;
}

/** Everything that any call was answered with. */
const said: string[] = [];

async function outcomeOf(call: Promise<RawAnswer>): Promise<string> {
  const answer = await call;
  said.push(answer.head, answer.body.toString("latin1"));
  const verdict = verdictOf(answer);
  if (verdict !== "accepted") {
    return verdict;
  }
  const { principal } = JSON.parse(answer.body.toString());
  return principal.type.replace("PRINCIPAL_TYPE_", "").replace("_", " ").toLowerCase();
}

const AUTHENTICATE = "/latchkey.v1.AuthenticationService/Authenticate";
const WHO_AM_I = "/latchkey.v1.AuthenticationService/WhoAmI";

async function ask(fields: readonly Field[], more: object = {}): Promise<string> {
  const headers = fields.map(([name, value]) => ({ name, value }));
  return await outcomeOf(callHttp1(service.port, AUTHENTICATE, [], JSON.stringify({ headers, ...more })));
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Whether a value holds what no field of HTTP has: RFC 9110 section 5.5. */
const isForbidden = (value: string) =>
  [...value].some((character) => character !== "\t" && (character < " " || character === "\x7f"));

/** The ways by which headers come, and what each of them must make of a table's row. */
const DOORS: readonly {
  readonly name: string;
  readonly isOwn: boolean;
  readonly carries: (row: Case) => boolean;
  readonly outcome: (row: Case) => string;
  readonly call: (row: Pick<Case, "fields">) => Promise<string>;
}[] = [
  {
    name: "inside a message",
    isOwn: false,
    carries: () => true,
    outcome: ({ outcome }) => outcome,
    call: ({ fields }) => ask(fields),
  },
  {
    name: "as the call's own, over HTTP/1.1",
    isOwn: true,
    // A colon ends the name, and what is beyond a byte has no form.
    carries: ({ fields }) =>
      fields.every(([name, value]) => !name.includes(":") && !/[^\0-\xff]/.test(name + value)),
    outcome: ({ fields, outcome }) =>
      fields.some(([name, value]) => !TOKEN.test(name) || isForbidden(value)) ? "HTTP 400" : outcome,
    call: ({ fields }) => outcomeOf(callHttp1(service.port, WHO_AM_I, fields)),
  },
  {
    name: "as the call's own, over HTTP/2",
    isOwn: true,
    // A pseudo-header that is unknown is a fault of the whole stream: RFC 9113 section 8.3.
    carries: ({ fields }) =>
      fields.every(([name, value]) => !name.startsWith(":") && !/[^\0-\xff]/.test(name + value)),
    outcome: ({ fields, outcome, without = "CREDENTIAL_MISSING" }) =>
      fields.some(isForbiddenInHttp2) ? without : outcome,
    call: ({ fields }) => outcomeOf(callHttp2(service.port, WHO_AM_I, fields.map(lowerCase))),
  },
];

/** RFC 9113 section 8.2.1. Node drops such a field; to refuse the call is what the RFC asks for. */
function isForbiddenInHttp2([name, value]: Field): boolean {
  return !TOKEN.test(name) || isForbidden(value) || /^[\t ]|[\t ]$/.test(value);
}

/** RFC 9113 section 8.2: names have no case. */
function lowerCase([name, value]: Field): Field {
  return [name.toLowerCase(), value];
}

function guarantee(what: string, cases: readonly Case[]): void {
  describe(what, () => {
    for (const door of DOORS) {
      const rows = cases
        .filter((row) => !(row.onlyInMessage && door.isOwn) && door.carries(row))
        .map((row) => ({ ...row, outcome: door.outcome(row) }));
      if (rows.length > 0) {
        test(`${door.name}: ${rows.length} cases`, () => assertOutcomes(rows, door.call));
      }
    }
  });
}

/** Each credential in its header, another of the same kind, and one that is not good. */
const CREDENTIALS = [
  { header: "X-API-Key", good: apiKey, other: second.apiKey, bad: "ak_wrong", outcome: "api key" },
  {
    header: "Authorization",
    good: `Bearer ${token}`,
    other: `Bearer ${second.token}`,
    bad: "Bearer wrong",
    outcome: "user",
  },
  {
    header: "X-Internal-Key",
    good: internalKey,
    other: second.internalKey,
    bad: "sk_wrong",
    outcome: "service",
  },
] as const;

const SPELLINGS: readonly ((name: string) => string)[] = [
  (name) => name,
  (name) => name.toLowerCase(),
  (name) => name.toUpperCase(),
  (name) => [...name].map((letter, at) => (at % 2 ? letter.toUpperCase() : letter.toLowerCase())).join(""),
];

guarantee(
  "a credential is found whatever the case of its header's name",
  CREDENTIALS.flatMap(({ header, good, outcome }) =>
    SPELLINGS.map((spell) => ({ name: spell(header), fields: [[spell(header), good]], outcome }) as const),
  ).filter(({ name }, at, all) => all.findIndex((row) => row.name === name) === at),
);

guarantee(
  "a credential header that occurs twice is ambiguous, the same or not, good or not",
  CREDENTIALS.flatMap(({ header, good, other, bad }) =>
    SPELLINGS.flatMap((spell, spelling) =>
      [
        [good, good],
        [good, other],
        [good, bad],
        [bad, good],
        [good, ""],
        ["", good],
      ].flatMap(([first = "", last = ""], values) =>
        [[], [["accept", "*/*"] as const]].map((between) => ({
          name: `${spell(header)}, spelling ${spelling}, values ${values}, ${between.length} between`,
          fields: [[header, first], ...between, [spell(header), last]] as const,
          outcome: "CREDENTIALS_AMBIGUOUS" as const,
        })),
      ),
    ),
  ),
);

guarantee("Authorization that occurs twice is ambiguous, whatever the schemes", [
  ...["Bearer wrong", `Bearer ${token}`, "Basic YTpi", ""].flatMap((first) =>
    ["Bearer wrong", `Bearer ${token}`, "Basic YTpi", ""].map((last) => ({
      name: `${first.slice(0, 12)} and ${last.slice(0, 12)}`,
      fields: [
        ["Authorization", first],
        ["authorization", last],
      ] as const,
      outcome: "CREDENTIALS_AMBIGUOUS" as const,
    })),
  ),
]);

/** Every way to present each kind, an empty one too: to be there is enough. */
const KINDS: readonly { readonly kind: string; readonly fields: readonly Field[] }[] = [
  {
    kind: "API key",
    fields: [
      ["X-API-Key", apiKey],
      ["x-api-key", "wrong"],
      ["X-API-KEY", ""],
    ],
  },
  {
    kind: "Bearer",
    fields: [
      ["Authorization", `Bearer ${token}`],
      ["authorization", `bearer ${apiKey}`],
      ["AUTHORIZATION", "Bearer"],
    ],
  },
  {
    kind: "internal key",
    fields: [
      ["X-Internal-Key", internalKey],
      ["x-internal-key", "wrong"],
      ["X-INTERNAL-KEY", ""],
    ],
  },
];

guarantee(
  "two kinds of credential together are ambiguous, in either order",
  KINDS.flatMap((one) =>
    KINDS.flatMap((other) =>
      one.fields.flatMap((first, at) =>
        other.fields.map((last, to) => ({
          name: `${one.kind} ${at} and ${other.kind} ${to}`,
          fields: [first, last],
          outcome: "CREDENTIALS_AMBIGUOUS" as const,
        })),
      ),
    ),
  ),
);

guarantee("all three kinds together are ambiguous", [
  {
    name: "good ones",
    fields: CREDENTIALS.map(({ header, good }) => [header, good]),
    outcome: "CREDENTIALS_AMBIGUOUS",
  },
]);

const JOINTS = [",", ", ", " , ", ",,", "\t,\t"];

guarantee(
  "credentials that an edge has joined by a comma are ambiguous",
  CREDENTIALS.flatMap(({ header, good, other, bad }) =>
    [
      ...JOINTS.flatMap((joint) => [good + joint + good, good + joint + other, bad + joint + good]),
      ...(header === "Authorization"
        ? [
            ...JOINTS.flatMap((joint) => [`Basic YTpi${joint}${good}`, `${good}${joint}Basic YTpi`]),
            `Digest username="a", realm="b", ${good}`,
            `Basic YTpi,BEARER ${token}`,
            `Bearer,${good}`,
            `${good},Bearer`,
          ]
        : []),
      `${good},`,
      `,${good}`,
      ",",
    ]
      .filter((value) => header !== "Authorization" || value !== ",")
      .map((value, at) => ({
        name: `${header} ${at}`,
        fields: [[header, value]],
        outcome: "CREDENTIALS_AMBIGUOUS" as const,
      })),
  ),
);

/** The characters of a header's name that some server folds into a dash. */
const FOLDED = [..."!#$%&'*+.^_`|~"];
const GUARDED = ["x-api-key", "x-internal-key", "x-org-id"];

/** Every name that is one of the guarded ones but for one dash or both. */
const ALIASES = GUARDED.flatMap((name) => {
  const [first, middle, last] = name.split("-");
  return FOLDED.flatMap((sign, at) => [
    `${first}${sign}${middle}-${last}`,
    `${first}-${middle}${sign}${last}`,
    `${first}${sign}${middle}${sign}${last}`,
    `${first}${sign}${middle}${FOLDED.at(at - 1)}${last}`,
  ]);
});

guarantee(
  "a name that could be folded into a guarded one is refused, alone and beside a good credential",
  ALIASES.map((alias, at) => {
    const name = (SPELLINGS[at % SPELLINGS.length] ?? String)(alias);
    const outcome = "CREDENTIAL_HEADER_ALIAS" as const;
    const good = CREDENTIALS[at % CREDENTIALS.length];
    return good === undefined || at % 2 === 0
      ? { name, fields: [[name, apiKey]], outcome }
      : {
          name: `${name} beside ${good.header}`,
          fields: [
            [good.header, good.good],
            [name, ""],
          ],
          outcome,
        };
  }),
);

guarantee(
  "a name that only resembles a guarded one is no credential",
  [
    "xapikey",
    "x-api--key",
    "-x-api-key",
    "x-api-key-",
    "api-key",
    "x-api-keys",
    "xx-api-key",
    "x-apikey",
    ...["http_x_api_key", "x-api-key-bin", "x-internal-key-bin", "authorization-bin", "x-authorization"],
    ...["proxy-authorization", "x-forwarded-authorization", "cookie", "x-org", "x-latchkey-api-key"],
  ].flatMap((name) => [
    { name, fields: [[name, apiKey]], outcome: "CREDENTIAL_MISSING" as const },
    {
      name: `${name} beside X-API-Key`,
      fields: [
        [name, internalKey],
        ["X-API-Key", apiKey],
      ],
      outcome: "api key" as const,
    },
  ]),
);

const CODES = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code));
const NOT_IN_NAMES = [
  ...CODES.filter((character) => !TOKEN.test(character) && character !== ":"),
  "\u0130",
  "\u212a",
];

guarantee(
  "a name that is no token of HTTP is refused, also beside a good credential",
  [
    "",
    ":",
    "::",
    ":x y",
    "x-api-key:",
    ...NOT_IN_NAMES.flatMap((character, at) =>
      [character, `${character}x`, `x${character}`, `x-api${character}key`].filter(
        (_, shape) => at % 2 === shape % 2,
      ),
    ),
  ].map((name, at) =>
    at % 3 === 0
      ? { name: `"${shown(name)}"`, fields: [[name, apiKey]], outcome: "HEADER_NAME_INVALID" as const }
      : {
          name: `"${shown(name)}" beside X-API-Key`,
          fields: [
            ["X-API-Key", apiKey],
            [name, "x"],
          ],
          outcome: "HEADER_NAME_INVALID" as const,
          without: "api key" as const,
        },
  ),
);

test("a pseudo-header of HTTP/2 inside a message is no credential, whatever its name", async () => {
  const names = [":authority", ":path", ":x-api-key", ":authorization", ":x_api_key"];
  await assertOutcomes(
    names.flatMap((name): Case[] => [
      { name, fields: [[name, apiKey]], outcome: "CREDENTIAL_MISSING" },
      {
        name: `${name} beside X-API-Key`,
        fields: [
          [name, internalKey],
          ["X-API-Key", apiKey],
        ],
        outcome: "api key",
      },
    ]),
    ({ fields }) => ask(fields),
  );
});

/** Where in a credential a character stands. */
const PLACES = [
  { place: "before", put: (value: string, character: string) => character + value },
  { place: "after", put: (value: string, character: string) => value + character },
  {
    place: "within",
    put: (value: string, character: string) => value.slice(0, 12) + character + value.slice(12),
  },
];
/** In UTF-8 a character of several bytes, and what some programs take for spaces and commas. */
const BEYOND = ["\u0100", "\u2028", "\u00a0\u00a0", "\uff0c", "\ufeff", "\u200b", "\u{1f511}", "e\u0301"];

guarantee(
  "a character that is not visible ASCII is refused, wherever in a credential it stands",
  CREDENTIALS.flatMap(({ header, good }) =>
    PLACES.flatMap(({ place, put }, turn) =>
      [...CODES.filter((code) => !/[\t -~]/.test(code)), ...BEYOND].map((character, at) => ({
        name: `${shown(character)} ${place} ${header}`,
        fields: [[header, put(good, character)]] as const,
        outcome: "CREDENTIAL_MALFORMED" as const,
        onlyInMessage: at % PLACES.length !== turn,
      })),
    ),
  ).filter(({ onlyInMessage }, at) => !onlyInMessage || at % 4 === 0),
);

guarantee(
  "a character of several bytes is refused in the bytes that it has on the wire",
  CREDENTIALS.flatMap(({ header, good }) =>
    BEYOND.map((character) => ({
      name: `${shown(character)} in ${header}`,
      fields: [[header, Buffer.from(good + character).toString("latin1")]],
      outcome: "CREDENTIAL_MALFORMED" as const,
    })),
  ),
);

guarantee(
  "a space or a tab within a credential is refused",
  CREDENTIALS.flatMap(({ header, good }) =>
    [" ", "\t", "  "].map((space) => ({
      name: `${shown(space)} in ${header}`,
      fields: [[header, good.slice(0, 20) + space + good.slice(20)]],
      outcome: "CREDENTIAL_MALFORMED" as const,
    })),
  ),
);

guarantee(
  "a line break does not smuggle a second header in, of any scheme",
  ["\r\n", "\n", "\r", "\0"].flatMap((broken) =>
    [
      ["X-API-Key", apiKey],
      ["Authorization", `Bearer ${token}`],
      ["Authorization", "Basic YTpi"],
      ["X-Internal-Key", internalKey],
    ].map(([header = "", value = ""]) => ({
      name: `${shown(broken)} in ${header} ${value.slice(0, 5)}`,
      // On the wire, `\r\n` before a name would be a header of its own: a control character follows it.
      fields: [[header, `${value}${broken}\x01X-Internal-Key: ${internalKey}`]],
      outcome: "CREDENTIAL_MALFORMED" as const,
    })),
  ),
);

const SPACES = [" ", "\t", "   ", " \t \t", "\t\t"];

guarantee(
  "spaces and tabs around a value are not part of it",
  CREDENTIALS.flatMap(({ header, good, outcome }) =>
    SPACES.flatMap((space) => [
      { name: `${shown(space)} before ${header}`, fields: [[header, space + good]], outcome },
      { name: `${shown(space)} after ${header}`, fields: [[header, good + space]], outcome },
      { name: `${shown(space)} around ${header}`, fields: [[header, space + good + space]], outcome },
    ]),
  ),
);

guarantee("the scheme Bearer is found in any case, before any space", [
  ...["bearer", "BEARER", "bEaReR"].map((scheme) => ({
    name: scheme,
    fields: [["Authorization", `${scheme} ${token}`]] as const,
    outcome: "user" as const,
  })),
  ...SPACES.map((space) => ({
    name: `Bearer${shown(space)}`,
    fields: [["Authorization", `Bearer${space}${token}`]] as const,
    outcome: "user" as const,
  })),
]);

guarantee("a credential without a text is not one of ours, and is not taken for none", [
  { name: "Bearer", fields: [["Authorization", "Bearer"]], outcome: "TOKEN_INVALID" },
  {
    name: "Bearer and a space",
    fields: [["Authorization", "Bearer "]],
    outcome: "TOKEN_INVALID",
  },
  { name: "X-API-Key", fields: [["X-API-Key", ""]], outcome: "API_KEY_INVALID" },
  { name: "X-Internal-Key", fields: [["X-Internal-Key", ""]], outcome: "SERVICE_KEY_INVALID" },
]);

const FOREIGN_SCHEMES = [
  "",
  "Basic",
  "Basic YTpi",
  `Basic ${apiKey}`,
  "basic YTpi",
  'Digest username="a", realm="b", nonce="c", uri="/", response="d"',
  "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
  "Negotiate YII=",
  "DPoP eyJ",
  "ApiKey x",
  "Bearerx",
  `X-Bearer ${token}`,
];

guarantee(
  "Authorization of another scheme is not a credential: alone there is none, beside a key the key counts",
  FOREIGN_SCHEMES.flatMap((value) => [
    {
      name: `"${value.slice(0, 40)}"`,
      fields: [["Authorization", value]],
      outcome: "CREDENTIAL_MISSING" as const,
    },
    ...CREDENTIALS.filter(({ header }) => header !== "Authorization").map(({ header, good, outcome }) => ({
      name: `"${value.slice(0, 40)}" beside ${header}`,
      fields: [
        ["Authorization", value],
        [header, good],
      ] as const,
      outcome,
    })),
  ]),
);

guarantee(
  "Authorization without a scheme is refused: somebody else may take it for a credential",
  [
    token,
    apiKey,
    `Bearer:${token}`,
    `Bearer=${token}`,
    `Bearer${token}`,
    `Bearer_ ${token}`,
    `"Bearer" ${token}`,
    `Basic Bearer ${token}`,
    `Basic YTpi ${token}`,
    "=",
    "@",
  ].flatMap((value, at) => [
    {
      name: `${at} "${value.slice(0, 20)}"`,
      fields: [["Authorization", value]],
      outcome: "CREDENTIAL_MALFORMED" as const,
    },
    {
      name: `${at} "${value.slice(0, 20)}" beside X-API-Key`,
      fields: [
        ["Authorization", value],
        ["X-API-Key", apiKey],
      ] as const,
      outcome: "CREDENTIAL_MALFORMED" as const,
    },
  ]),
);

test("a Connection header that names a guarded one is ambiguous: the next hop would drop it", async () => {
  const options = [
    "x-api-key",
    "X-API-KEY",
    "Authorization",
    "x-internal-key",
    "x-org-id",
    "x-latchkey-role",
  ];
  const rows = [
    ...options.flatMap((option) => [option, `close, ${option}`, `${option},keep-alive`, ` \t${option} `]),
  ].map((value) => ({
    name: value,
    fields: [
      ["X-API-Key", apiKey],
      ["Connection", value],
    ] as const,
    outcome: "CREDENTIALS_AMBIGUOUS",
  }));
  const harmless = ["close", "keep-alive, Upgrade", "x-other", "", "x-api-keys"].map((value) => ({
    name: value,
    fields: [
      ["X-API-Key", apiKey],
      ["Connection", value],
    ] as const,
    outcome: "api key",
  }));
  await assertOutcomes([...rows, ...harmless], ({ fields }) => ask(fields));
  await assertOutcomes([...rows, ...harmless], ({ fields }) =>
    outcomeOf(callHttp1(service.port, WHO_AM_I, fields)),
  );
});

guarantee("no header at all is no credential", [{ name: "none", fields: [], outcome: "CREDENTIAL_MISSING" }]);

async function stripped(fields: readonly Field[]): Promise<string[]> {
  const headers = fields.map(([name, value]) => ({ name, value }));
  const answer = await callHttp1(service.port, AUTHENTICATE, [], JSON.stringify({ headers }));
  return JSON.parse(answer.body.toString()).stripHeaders;
}

describe("what an edge is told to remove", () => {
  const always = ["x-api-key", "x-internal-key", "x-org-id"];

  test("Authorization where it carried the credential, and never where it is of another scheme", async () => {
    assert.deepEqual(await stripped([["Authorization", `Bearer ${token}`]]), ["authorization", ...always]);
    for (const scheme of FOREIGN_SCHEMES) {
      const fields: Field[] = [
        ["X-API-Key", apiKey],
        ["Authorization", scheme],
      ];
      assert.deepEqual(await stripped(fields), always, scheme);
    }
  });

  test("every identity header that a client may have forged, however its name is spelt", async () => {
    const forged = [
      "X-Latchkey-Principal",
      "x_latchkey_role",
      "X.LATCHKEY.Org",
      "x-latchkey-",
      "x~latchkey!x",
    ];
    const fields = forged.map((name) => [name, "root"] as const);
    const names = [...always, ...forged.map((name) => name.toLowerCase())].sort();
    assert.deepEqual(await stripped([["X-API-Key", apiKey], ...fields]), names);
  });
});

describe("too many headers, or too large", () => {
  const many = (count: number) => Array.from({ length: count }, (_, at): Field => [`x-${at}`, "v"]);
  /** As many bytes of names and values, one of them the key. */
  const bytes = (count: number): Field[] => {
    const key: Field = ["X-API-Key", apiKey];
    const left = count - key.join("").length - "x-large".length;
    return [key, ["x-large", "v".repeat(left)]];
  };
  const KiB = 1024;

  const fieldsInMessage: Case[] = [
    { name: "256 headers", fields: [["X-API-Key", apiKey], ...many(255)], outcome: "api key" },
    { name: "257 headers", fields: [["X-API-Key", apiKey], ...many(256)], outcome: "HEADERS_TOO_LARGE" },
    { name: "300 headers", fields: many(300), outcome: "HEADERS_TOO_LARGE" },
  ];
  test("are refused inside a message past 256 fields", () =>
    assertOutcomes(fieldsInMessage, ({ fields }) => ask(fields)));

  const bytesInMessage: Case[] = [
    { name: "48 KiB", fields: bytes(48 * KiB), outcome: "api key" },
    { name: "48 KiB and a byte", fields: bytes(48 * KiB + 1), outcome: "HEADERS_TOO_LARGE" },
    {
      name: "48 KiB in fewer characters",
      fields: [["x", "\u{1f511}".repeat(12 * KiB)]],
      outcome: "HEADERS_TOO_LARGE",
    },
  ];
  test("are refused inside a message past 48 KiB", () =>
    assertOutcomes(bytesInMessage, ({ fields }) => ask(fields)));

  /** The port's own bound is 16 KiB of the whole section; HTTP/2 has one of 128 fields besides. */
  const own = [
    { name: "201 headers", fields: [["X-API-Key", apiKey], ...many(200)], http1: "api key" },
    { name: "300 headers", fields: many(300), http1: "HEADERS_TOO_LARGE" },
    { name: "17 KiB", fields: bytes(17 * KiB), http1: "HTTP 431", http2: "HTTP 431" },
    { name: "49 KiB", fields: bytes(49 * KiB), http1: "HTTP 431", http2: "HTTP 431" },
    { name: "1 MiB", fields: bytes(1024 * KiB), http1: "HTTP 431" },
  ] as const;
  test("are refused as the call's own, over HTTP/1.1", () =>
    assertOutcomes(
      own.map((row) => ({ ...row, outcome: row.http1 })),
      ({ fields }) => outcomeOf(callHttp1(service.port, WHO_AM_I, fields)),
    ));
  test("are refused as the call's own, over HTTP/2", () =>
    assertOutcomes(
      own.map((row) => ({ ...row, outcome: "http2" in row ? row.http2 : "cut" })),
      async ({ fields }) => {
        const outcome = await outcomeOf(callHttp2(service.port, WHO_AM_I, fields.map(lowerCase)));
        return outcome.replace(/^(reset|goaway) .*/, "cut");
      },
    ));
});

const upper = organizationId.toUpperCase();
const NO_UUIDS = [
  "",
  " ",
  "acme",
  `{${organizationId}}`,
  `urn:uuid:${organizationId}`,
  organizationId.replaceAll("-", ""),
  organizationId.slice(1),
  `${organizationId}0`,
  organizationId.replace(/[0-9a-f]$/, "g"),
  `${organizationId} x`,
  "*",
  "' or true --",
];

describe("X-Org-Id", () => {
  guarantee("names the organization of the credential, in either case, or the call is refused", [
    ...CREDENTIALS.flatMap(({ header, good, outcome }): Case[] => {
      const named = (id: string): Field[] => [
        [header, good],
        ["X-Org-Id", id],
      ];
      const isInternal = outcome === "service";
      return [
        { name: `${header}: its own`, fields: named(organizationId), outcome },
        { name: `${header}: its own in capitals`, fields: named(upper), outcome },
        {
          name: `${header}: its own with spaces`,
          fields: named(` ${organizationId}\t`),
          outcome,
          without: outcome,
        },
        {
          name: `${header}: another`,
          fields: named(umbrella),
          outcome: isInternal ? outcome : "ORGANIZATION_MISMATCH",
        },
        {
          name: `${header}: nobody's`,
          fields: named(randomUUID()),
          outcome: isInternal ? "ORGANIZATION_UNKNOWN" : "ORGANIZATION_MISMATCH",
        },
      ];
    }),
  ]);

  guarantee(
    "that is no UUID is refused",
    NO_UUIDS.map((id) => ({
      name: `"${id}"`,
      fields: [
        ["X-Internal-Key", internalKey],
        ["X-Org-Id", id],
      ],
      outcome: "ORGANIZATION_ID_INVALID" as const,
      without: "service" as const,
    })),
  );

  guarantee(
    "that holds a character no UUID has is refused",
    CODES.filter((code) => !/[\t -~]/.test(code)).map((character) => ({
      name: shown(character),
      fields: [
        ["X-API-Key", apiKey],
        ["X-Org-Id", organizationId + character],
      ],
      outcome: "ORGANIZATION_ID_INVALID" as const,
      without: "api key" as const,
    })),
  );

  guarantee(
    "that occurs twice is ambiguous, also joined, also the same",
    [organizationId, upper, umbrella, ""].flatMap((other, at) => [
      ...[
        ["X-Org-Id", "X-Org-Id"],
        ["x-org-id", "X-ORG-ID"],
      ].map(([first = "", last = ""]) => ({
        name: `${first} and ${last} ${at}`,
        fields: [
          ["X-Internal-Key", internalKey],
          [first, organizationId],
          [last, other],
        ] as const,
        outcome: "ORGANIZATION_AMBIGUOUS" as const,
      })),
      ...JOINTS.map((joint) => ({
        name: `"${shown(joint)}" ${at}`,
        fields: [
          ["X-Internal-Key", internalKey],
          ["X-Org-Id", organizationId + joint + other],
        ] as const,
        outcome: "ORGANIZATION_AMBIGUOUS" as const,
        // Ends in a space where nothing follows.
        without: "service" as const,
      })),
    ]),
  );

  test("and the request's organization_id must be the same", async () => {
    const rows = CREDENTIALS.flatMap(({ header, good, outcome }) => {
      const isInternal = outcome === "service";
      const foreign = isInternal ? outcome : "ORGANIZATION_MISMATCH";
      return [
        { inHeader: undefined, inRequest: organizationId, outcome },
        { inHeader: undefined, inRequest: upper, outcome },
        { inHeader: undefined, inRequest: umbrella, outcome: foreign },
        { inHeader: organizationId, inRequest: organizationId, outcome },
        { inHeader: organizationId, inRequest: upper, outcome },
        { inHeader: upper, inRequest: organizationId, outcome },
        { inHeader: umbrella, inRequest: umbrella, outcome: foreign },
        { inHeader: organizationId, inRequest: umbrella, outcome: "ORGANIZATION_AMBIGUOUS" },
        { inHeader: umbrella, inRequest: organizationId, outcome: "ORGANIZATION_AMBIGUOUS" },
        { inHeader: undefined, inRequest: "acme", outcome: "REQUEST_INVALID" },
        { inHeader: "acme", inRequest: organizationId, outcome: "ORGANIZATION_ID_INVALID" },
      ].map((row, at) => ({ ...row, name: `${header} ${at}`, credential: [header, good] as const }));
    });
    await assertOutcomes(rows, ({ credential, inHeader, inRequest }) => {
      const named: Field[] = inHeader === undefined ? [] : [["X-Org-Id", inHeader]];
      return ask([credential, ...named], { organizationId: inRequest });
    });
  });
});

test("what is wrong is told alike in whatever order the headers come", async () => {
  const faults: readonly Field[] = [
    ["x y", ""],
    ["X_API_Key", apiKey],
    ["X-API-Key", apiKey],
    ["x-api-key", second.apiKey],
    ["X-API-Key", `${apiKey}\0`],
    ["Authorization", `Bearer ${token}, Basic YTpi`],
    ["authorization", token],
    ["X-Internal-Key", internalKey],
    ["X-Org-Id", umbrella],
    ["x-org-id", "acme"],
    ["Connection", "x-api-key"],
    ["x-large", "v".repeat(48 * 1024)],
  ];
  const pairs = faults.flatMap((one, at) => faults.slice(at + 1).map((other) => [one, other] as const));
  const rows = await Promise.all(
    pairs.map(async ([one, other], at) => ({
      name: `${at} ${one[0]} and ${other[0]}`,
      fields: [other, one],
      outcome: await ask([one, other]),
    })),
  );
  await assertOutcomes(rows, ({ fields }) => ask(fields));
});

test("HTTP/2 refuses a call with a field that it does not allow, rather than read the rest of it", {
  todo: "Node drops such a field without a word (RFC 9113 section 8.2.1 asks for a stream error)",
}, async () => {
  const rows = CREDENTIALS.flatMap(({ header, good, other }) =>
    ["\0", "\n", "\x7f", " "].map((character) => ({
      name: `${header} and again with ${shown(character)}`,
      fields: [
        [header, good],
        [header, other + character],
      ] as const,
      outcome: "reset PROTOCOL_ERROR",
    })),
  );
  await assertOutcomes(rows, ({ fields }) =>
    outcomeOf(callHttp2(service.port, WHO_AM_I, fields.map(lowerCase))),
  );
});

test("the process lives, and neither an answer nor a line of the log repeats a secret", async () => {
  await assertOutcomes(
    CREDENTIALS.map(({ header, good, outcome }) => ({ name: header, value: good, outcome })),
    ({ name, value }) => ask([[name, value]]),
  );
  const details = said.flatMap((text) =>
    [...text.matchAll(/"value":"([\w+/]+)"/g)].map(([, value = ""]) =>
      Buffer.from(value, "base64").toString("latin1"),
    ),
  );
  const texts = [...said, ...details, ...service.logged];
  for (const secret of [apiKey, internalKey, token, ...Object.values(second)]) {
    const found = texts.filter((text) => text.includes(secret.slice(-20)));
    assert.deepEqual(
      found.map((text) => text.slice(0, 200)),
      [],
    );
  }
});
