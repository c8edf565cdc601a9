import { type AuthenticateResponse, PrincipalTypeSchema } from "../gen/latchkey/v1/authentication_pb.ts";
import { fieldsOf } from "./output.ts";

/** A decision as a person reads it. */
export function shownDecision({
  principal,
  organization,
  credential,
  permissions,
  delegatedBy,
}: AuthenticateResponse): string {
  const kind = PrincipalTypeSchema.value[principal?.type ?? 0]?.localName.toLowerCase();
  return fieldsOf([
    ["principal", [kind, principal?.id, principal?.displayName, principal?.email].filter(Boolean).join(" ")],
    ["role", principal?.role],
    ["service", delegatedBy && `${delegatedBy.id} ${delegatedBy.displayName}, on their behalf`],
    ["organization", organization ? `${organization.name} (${organization.id})` : "all of them"],
    ["permissions", permissions.join(" ") || "none"],
    ["credential", credential?.id],
  ]);
}

export function shownRefusal(refusal: {
  readonly reason: string;
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
}): string {
  const { reason, message, metadata } = refusal;
  return fieldsOf([["refused", `${reason}: ${message}`], ...Object.entries(metadata)]);
}
