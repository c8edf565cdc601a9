const HOUR = 60 * 60;
const DAY = 24 * HOUR;

/** Of an access token, in seconds. */
export const TOKEN_SECONDS = 24 * HOUR;
/** Of a session, in seconds, however often it is refreshed. */
export const SESSION_SECONDS = 30 * DAY;
/** Of a refresh token, in seconds: who stays away for longer logs in again. */
export const IDLE_SECONDS = 7 * DAY;

/** The end of a token that is issued now: it does not outlive its session. Whole seconds, like its claims. */
export function tokenEnd(issueTime: Date, sessionEnd: Date): Date {
  const end = Math.min(issueTime.getTime() + TOKEN_SECONDS * 1000, sessionEnd.getTime());
  return new Date(Math.floor(end / 1000) * 1000);
}
