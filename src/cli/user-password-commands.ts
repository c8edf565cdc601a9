import { Command } from "commander";
import {
  AcceptMembershipResponseSchema,
  ChangePasswordResponseSchema,
  ResetPasswordResponseSchema,
  UserService,
} from "../gen/latchkey/v1/user_pb.ts";
import { withExample } from "./example.ts";
import { fieldsOf } from "./output.ts";
import { answerOf, print, printSecret } from "./print.ts";
import { readSecrets } from "./read-secrets.ts";
import { openService, openServiceAsNobody } from "./service.ts";
import { type ServiceOptions, withAddressOptions, withOrganizationOptions } from "./service-options.ts";
import { shownTime } from "./shown.ts";

const { method } = UserService;
const ID = "0f9c1d52-7a61-4c8e-9a53-3f6f2f0f5a11";

export function resetPasswordCommand(): Command {
  const command = withOrganizationOptions(new Command("reset-password"))
    .description("replace a user's password by a one-time one, told once, and end their sessions")
    .argument("<id>", "the id of the user")
    .action(async (id: string, options: ServiceOptions) => {
      const service = await openService(options, "organization");
      const answer = await service.call(method.resetPassword, { id });
      const shown = fieldsOf([["expires", shownTime(answer.expireTime)]]);
      await printSecret(options, {
        ...answerOf(ResetPasswordResponseSchema, answer, shown),
        secret: answer.oneTimePassword,
        name: "password",
        use: "hand it to the person, who changes it with `latchkey user change-password` first",
        remedy: "reset it again",
      });
    });
  return withExample(command, `latchkey user reset-password ${ID}`);
}

export function acceptCommand(): Command {
  const command = withAddressOptions(new Command("accept"))
    .description(
      "accept a membership; the invitation and the password are asked for, or lines of standard input",
    )
    .argument("<email>", "the email address that was invited")
    .action(async (email: string, options: ServiceOptions) => {
      const [invitation, password] = await readSecrets([
        "invitation",
        "password (a new one, if there is none yet)",
      ]);
      const service = await openServiceAsNobody(options);
      const answer = await service.call(method.acceptMembership, { email, invitation, password });
      const shown = fieldsOf([["organization", answer.organizationId]]);
      await print(options, answerOf(AcceptMembershipResponseSchema, answer, shown));
    });
  return withExample(command, "latchkey user accept ann@example.com");
}

export function changePasswordCommand(): Command {
  const command = withAddressOptions(new Command("change-password"))
    .description("change one's own password; both are asked for, or lines of standard input")
    .argument("<email>", "one's email address")
    .option("--keep-sessions", "keep the sessions, which end otherwise")
    .action(async (email: string, options: ServiceOptions & { readonly keepSessions?: boolean }) => {
      const [currentPassword, newPassword] = await readSecrets(["current password", "new password"]);
      const service = await openServiceAsNobody(options);
      const { keepSessions = false } = options;
      const request = { email, currentPassword, newPassword, keepSessions };
      const answer = await service.call(method.changePassword, request);
      await print(options, answerOf(ChangePasswordResponseSchema, answer, "changed\n"));
    });
  return withExample(command, "latchkey user change-password ann@example.com");
}
