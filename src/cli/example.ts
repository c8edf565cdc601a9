import type { Command } from "commander";

const examples = new WeakMap<Command, string>();

/** Ends the command's help with a call that can be typed. */
export function withExample(command: Command, example: string): Command {
  examples.set(command, example);
  return command.addHelpText("after", `\nFor example:\n  ${example.replaceAll("\n", "\n  ")}`);
}

export function exampleOf(command: Command): string | undefined {
  return examples.get(command);
}
