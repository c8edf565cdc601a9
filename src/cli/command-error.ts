/** A command cannot go on; the message is for a person. */
export class CommandError extends Error {
  override readonly name: string = "CommandError";
}
