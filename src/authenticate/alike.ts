import type { OrganizationView } from "./decision.ts";

/** How many are known of each kind. */
const MOST_KNOWN = 10_000;

const lists = new Map<string, readonly string[]>();
const organizations = new Map<string, OrganizationView>();

/** The list itself, or an equal one that was here before: many rows have the same. */
export function alikeList(texts: readonly string[]): readonly string[] {
  const name = JSON.stringify(texts);
  return lists.get(name) ?? remember(lists, name, texts);
}

/** The organization itself, or an equal one that was here before: many rows are of the same. */
export function alikeOrganization(organization: OrganizationView): OrganizationView {
  const known = organizations.get(organization.id);
  const isSame =
    known?.name === organization.name &&
    known.suspended === organization.suspended &&
    known.createTime.getTime() === organization.createTime.getTime();
  return isSame ? known : remember(organizations, organization.id, organization);
}

function remember<Value>(known: Map<string, Value>, name: string, value: Value): Value {
  if (known.size >= MOST_KNOWN) {
    known.clear();
  }
  known.set(name, value);
  return value;
}
