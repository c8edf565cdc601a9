import type { Question } from "../../authenticate/decision.ts";
import type { HeaderField } from "../../credentials/credential-headers.ts";
import { isUuid } from "../../uuid.ts";

/** What an AuthenticateRequest asks: its fields, without what makes it a message. */
export type AskedQuestion = Omit<Question, "callerOrganizationId">;

/** One that is being read. */
export interface Draft {
  headers: HeaderField[];
  requiredPermissions: string[];
  anyPermissions: string[];
  organizationId: string;
  audience: string;
  clientAddress: string;
  minRevision: string;
}

export function draft(): Draft {
  return {
    headers: [],
    requiredPermissions: [],
    anyPermissions: [],
    organizationId: "",
    audience: "",
    clientAddress: "",
    minRevision: "",
  };
}

/**
 * Whether it keeps the rules that stand beside the fields of AuthenticateRequest. Where it says no, it may still
 * keep them: lengths are counted in UTF-16 here, of which there are never fewer than code points.
 */
export function keepsRules(asked: AskedQuestion): boolean {
  return (
    arePermissions(asked.requiredPermissions) &&
    arePermissions(asked.anyPermissions) &&
    (asked.organizationId === "" || isUuid(asked.organizationId)) &&
    asked.audience.length <= 255 &&
    asked.minRevision.length <= 4096
  );
}

function arePermissions(names: readonly string[]): boolean {
  return (
    names.length === 0 || (names.length <= 64 && names.every(({ length }) => length > 0 && length <= 100))
  );
}
