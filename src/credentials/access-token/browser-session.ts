import { AuthError } from "../../errors.ts";
import type { HeaderField } from "../credential-headers.ts";

/**
 * A cookie of this name comes from this very host, over a secure connection, and is for nobody else's
 * (RFC 6265bis section 4.1.3.2).
 */
const COOKIE = "__Host-latchkey_refresh";
const ATTRIBUTES = "Path=/; HttpOnly; Secure; SameSite=Strict";

/** Refresh tokens that travel in a cookie: no script can read them. */
export interface BrowserSessions {
  /**
   * Checks that a call comes from a page that may have a session: a browser sends the cookie for whoever makes the
   * call, and tells in `Origin` who that is.
   *
   * @throws AuthError ORIGIN_DENIED
   */
  requireOrigin(headers: readonly HeaderField[]): void;
  /**
   * The refresh token in the cookie; empty where there is none.
   *
   * @throws AuthError CREDENTIALS_AMBIGUOUS where there are several.
   */
  readCookie(headers: readonly HeaderField[]): string;
}

/** @param origins such as `https://dashboard.example.com`, compared to the letter. */
export function createBrowserSessions(origins: ReadonlySet<string>): BrowserSessions {
  return {
    requireOrigin(headers) {
      const [origin, ...others] = valuesOf(headers, "origin");
      if (origin === undefined || others.length > 0 || !origins.has(origin)) {
        throw new AuthError("ORIGIN_DENIED");
      }
    },
    readCookie(headers) {
      const [text = "", ...others] = valuesOf(headers, "cookie")
        .flatMap((line) => line.split(";"))
        .map((pair) => pair.trim())
        .filter((pair) => pair.startsWith(`${COOKIE}=`))
        .map((pair) => pair.slice(COOKIE.length + 1));
      if (others.length > 0) {
        throw new AuthError("CREDENTIALS_AMBIGUOUS");
      }
      return text;
    },
  };
}

/** A `Set-Cookie` that gives the browser a refresh token to keep. */
export function refreshCookie({ token, expireTime }: { token: string; expireTime: Date }): string {
  const seconds = Math.max(0, Math.floor((expireTime.getTime() - Date.now()) / 1000));
  return `${COOKIE}=${token}; Max-Age=${seconds}; ${ATTRIBUTES}`;
}

/** A `Set-Cookie` that makes the browser forget it. */
export const CLEARED_COOKIE = `${COOKIE}=; Max-Age=0; ${ATTRIBUTES}`;

function valuesOf(headers: readonly HeaderField[], name: string): string[] {
  return headers.filter((field) => field.name.toLowerCase() === name).map(({ value }) => value);
}
