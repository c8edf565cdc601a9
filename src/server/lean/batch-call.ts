import { toBinary } from "@bufbuild/protobuf";
import type { AuthenticateAll } from "../../authenticate/authenticate-all.ts";
import { errorResult, questionOf } from "../../authenticate/authentication-service.ts";
import { AuthError } from "../../errors.ts";
import { AuthenticateResultSchema } from "../../gen/latchkey/v1/authentication_pb.ts";
import { faultOf } from "../error-interceptor.ts";
import { type AnswerWriter, charactersOf, enclose, varint } from "./answer-bytes.ts";
import type { AskedQuestion } from "./asked-question.ts";
import { AskingCall, type AskingContext } from "./asking-call.ts";
import type { Written } from "./lean-answer.ts";
import { readQuestions } from "./question-binary.ts";

const MOST_QUESTIONS = 1000;
/** The tags of `results` of BatchAuthenticateResponse and of `response` of AuthenticateResult: field 1 of each. */
const FIELD_1 = "\n";

/** The bytes of one result, as characters and in pieces. */
type Result = readonly string[];

/** One call of `BatchAuthenticate`, in binary. */
export class BatchCall extends AskingCall<readonly AskedQuestion[], readonly Result[]> {
  declare protected readonly context: AskingContext & {
    readonly writer: AnswerWriter;
    readonly authenticateAll: AuthenticateAll;
  };

  protected override read(message: Buffer): readonly AskedQuestion[] | undefined {
    return readQuestions(message, MOST_QUESTIONS);
  }

  protected override ask(asked: readonly AskedQuestion[]): Promise<readonly Result[]> {
    const { authenticateAll, writer } = this.context;
    const questions = asked.map((one) => questionOf(one, this.actor));
    return authenticateAll(questions, (outcome): Result => {
      if (outcome instanceof AuthError) {
        this.noteRefusal(outcome);
        this.fault ??= faultOf(outcome);
        const bytes = charactersOf(toBinary(AuthenticateResultSchema, errorResult(outcome)));
        return [FIELD_1 + varint(bytes.length), bytes];
      }
      const [head, tail] = writer.binaryParts(outcome);
      const revision = writer.binaryRevision(this.revision);
      const length = head.length + revision.length + tail.length;
      const inner = FIELD_1 + varint(length);
      return [FIELD_1 + varint(inner.length + length) + inner, head, revision, tail];
    });
  }

  protected override message(results: readonly Result[]): Written {
    const text = results.map((result) => result.join("")).join("");
    return this.head.format === "grpc" ? { enveloped: enclose(Buffer.from(text, "latin1")) } : { text };
  }

  protected override subject(): undefined {
    return undefined;
  }
}
