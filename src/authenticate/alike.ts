import type { OrganizationView } from "./decision.ts";

/** How many are known of each kind. */
const MOST_KNOWN = 10_000;
/** How long the known lists are in all. Those who make keys say what is in them. */
const MOST_CHARACTERS = 2_000_000;

const lists = new Map<string, readonly string[]>();
let characters = 0;
const organizations = new Map<string, OrganizationView>();

/** The list itself, or an equal one that was here before: many rows have the same. */
export function alikeList(texts: readonly string[]): readonly string[] {
  const name = JSON.stringify(texts);
  const known = lists.get(name);
  if (known !== undefined) {
    return known;
  }
  if (lists.size >= MOST_KNOWN || characters + name.length > MOST_CHARACTERS) {
    lists.clear();
    characters = 0;
  }
  characters += name.length;
  lists.set(name, texts);
  return texts;
}

/** The organization itself, or an equal one that was here before: many rows are of the same. */
export function alikeOrganization(organization: OrganizationView): OrganizationView {
  const known = organizations.get(organization.id);
  const isSame =
    known?.name === organization.name &&
    known.suspended === organization.suspended &&
    known.createTime.getTime() === organization.createTime.getTime();
  if (isSame) {
    return known;
  }
  if (organizations.size >= MOST_KNOWN) {
    organizations.clear();
  }
  organizations.set(organization.id, organization);
  return organization;
}
