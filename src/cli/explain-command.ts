import { Command } from "commander";
import {
  AuthenticationService,
  type ExplainResponse,
  ExplainResponseSchema,
} from "../gen/latchkey/v1/authentication_pb.ts";
import { withExample } from "./example.ts";
import { Table } from "./output.ts";
import { answerOf, print } from "./print.ts";
import { type QuestionOptions, REFUSED, readQuestion, withQuestionOptions } from "./question-options.ts";
import { openService } from "./service.ts";
import { type ServiceOptions, withServiceOptions } from "./service-options.ts";
import { sectionsOf } from "./shown.ts";
import { shownDecision, shownRefusal } from "./shown-decision.ts";

export function explainCommand(): Command {
  const command = withServiceOptions(withQuestionOptions(new Command("explain")))
    .description("tell step by step why the headers of a request are accepted or refused")
    .addHelpText(
      "after",
      "\nEnds with 0 where they are accepted, 2 where they are refused, 1 where nobody could tell.",
    )
    .action(async (options: ServiceOptions & QuestionOptions) => {
      const request = await readQuestion(options);
      const service = await openService(options, "platform");
      const answer = await service.call(AuthenticationService.method.explain, { request });
      if (!answer.allowed) {
        process.exitCode = REFUSED;
      }
      await print(options, answerOf(ExplainResponseSchema, answer, shownExplanation(answer)));
    });
  return withExample(command, "latchkey explain -H @headers.txt --require calls.read");
}

function shownExplanation(answer: ExplainResponse): string {
  const { response, steps } = answer;
  const rows = steps.map(({ name, passed, detail }) => [passed ? "passed" : "failed", name, detail]);
  return sectionsOf(
    rows.length === 0 ? "" : new Table(["", "STEP", "FOUND"]).add(rows),
    response === undefined ? shownRefusal(answer) : shownDecision(response),
  );
}
