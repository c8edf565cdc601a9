import { questionOf } from "../../authenticate/authentication-service.ts";
import type { Decision } from "../../authenticate/decision.ts";
import type { AnswerWriter } from "./answer-bytes.ts";
import type { AskedQuestion } from "./asked-question.ts";
import { AskingCall, type AskingContext } from "./asking-call.ts";
import type { Written } from "./lean-answer.ts";
import { readQuestion } from "./question-binary.ts";
import { readQuestionJson } from "./question-json.ts";

/** One call of `Authenticate`. */
export class AuthenticateCall extends AskingCall<AskedQuestion, Decision> {
  declare protected readonly context: AskingContext & { readonly writer: AnswerWriter };

  protected override read(message: Buffer): AskedQuestion | undefined {
    return this.head.format === "json" ? readQuestionJson(message) : readQuestion(message);
  }

  protected override ask(asked: AskedQuestion): Decision | Promise<Decision> {
    return this.context.authenticate(questionOf(asked, this.actor));
  }

  protected override message(decision: Decision): Written {
    const { writer } = this.context;
    switch (this.head.format) {
      case "grpc":
        return { enveloped: writer.enveloped(decision, this.revision) };
      case "proto":
        return { text: writer.binary(decision, this.revision) };
      case "json":
        return { text: writer.json(decision, this.revision) };
    }
  }

  protected override subject({ principal }: Decision): string {
    return principal.id;
  }
}
