import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Pool } from "pg";
import {
  type AuthenticateResponse,
  AuthenticateResponseSchema,
  CredentialType,
  PrincipalType,
} from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { parseDatabaseUrl } from "../../src/storage/database-connection.ts";
import { announce, answersPath } from "./announce.ts";
import { serveConnect } from "./connect-over-http1.ts";
import { apiKeyOf, digestOf } from "./lookup.ts";

// One prepared SELECT by primary key for each request, of one table that has all of the answer in a row, and nothing
// remembered. The first argument is the database.

interface Row {
  readonly id: string;
  readonly name: string;
  readonly organization_id: string;
  readonly organization_name: string;
  readonly organization_create_time: Date;
  readonly permissions: string[];
  readonly strip_headers: string[];
}

const CONNECTIONS = 10;
const pool = new Pool({ ...parseDatabaseUrl(answersPath()), max: CONNECTIONS });

async function find(key: string): Promise<AuthenticateResponse | undefined> {
  const { rows } = await pool.query<Row>({
    name: "answer",
    text: `select id, name, organization_id, organization_name, organization_create_time, permissions, strip_headers
      from answers where digest = $1`,
    values: [digestOf(key)],
  });
  const [row] = rows;
  return (
    row &&
    create(AuthenticateResponseSchema, {
      principal: { id: row.id, type: PrincipalType.API_KEY, displayName: row.name },
      organization: {
        id: row.organization_id,
        name: row.organization_name,
        createTime: timestampFromDate(row.organization_create_time),
      },
      permissions: row.permissions,
      credential: { id: row.id, type: CredentialType.API_KEY },
      stripHeaders: row.strip_headers,
    })
  );
}

await announce({ http: serveConnect((request) => find(apiKeyOf(request))) });
