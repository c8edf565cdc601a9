/**
 * Who may call what, and about whom: what every method answers to every kind of caller. Read it by rows.
 *
 * Callers:
 *   nobody       comes without a credential
 *   key          an API key of acme for `calls.*`
 *   key+         an API key of acme for `*` and for every `auth.…` by its name
 *   agent        a person of acme whose role, made there, holds `calls.read`
 *   viewer … owner   people of acme, by their built-in role
 *   other        an owner of globex
 *   platform     an administrator of the platform, who is a viewer of a third organization
 *   sk           an internal key for everything
 *   sk@acme      the same, with `X-Org-Id: acme`
 *   sk:name      an internal key for nothing but the permission that the method's rule names
 *   sk:platform  an internal key for nothing but the rule's permission of the platform (or `calls.read`)
 *   sk:none      an internal key for `calls.read`
 *
 * What the call names, where its message has a field for it: `id`, of a thing of acme or of globex, or of
 * nothing; `session` and `user`, of acme or of globex, whose sessions are listed or ended; `org`, by
 * `organization_id`; `self`, the id of the caller; `subject`, the credential to decide about; `grant`, how a token is
 * asked for, where not by a password.
 *
 * Answers: `ok`, or the reason:
 */
export const CODES: Readonly<Record<string, string>> = {
  "-": "CREDENTIAL_MISSING",
  perm: "PERMISSION_DENIED",
  held: "PERMISSION_NOT_HELD",
  other: "ORGANIZATION_MISMATCH",
  two: "ORGANIZATION_AMBIGUOUS",
  which: "ORGANIZATION_REQUIRED",
  nowhere: "ORGANIZATION_UNKNOWN",
  none: "NOT_FOUND",
  login: "LOGIN_FAILED",
  bad: "API_KEY_INVALID",
  req: "REQUEST_INVALID",
  owner: "OWNER_UNKNOWN",
  acct: "ACCOUNT_NOT_MANAGED",
  service: "SERVICE_KEY_REQUIRED",
  name: "ORGANIZATION_NAME_MISMATCH",
  // The caller of Authenticate, not its subject, is refused: CALLER_REJECTED, and why.
  "c:-": "CALLER_REJECTED CREDENTIAL_MISSING",
  "c:perm": "CALLER_REJECTED PERMISSION_DENIED",
};

const TABLE = `
call                                     nobody  key     key+   agent   viewer  member  admin  owner  other  platform  sk       sk@acme  sk:name  sk:platform  sk:none
Authenticate subject=acme                c:-     c:perm  ok     c:perm  c:perm  c:perm  ok     ok     other  c:perm    ok       ok       ok       c:perm       c:perm
Authenticate subject=globex              c:-     c:perm  other  c:perm  c:perm  c:perm  other  other  ok     c:perm    ok       other    ok       c:perm       c:perm
Authenticate subject=internal            c:-     c:perm  ok     c:perm  c:perm  c:perm  ok     ok     ok     c:perm    ok       ok       ok       c:perm       c:perm
Authenticate subject=garbage             c:-     c:perm  bad    c:perm  c:perm  c:perm  bad    bad    bad    c:perm    bad      bad      bad      c:perm       c:perm
BatchAuthenticate subject=acme           c:-     c:perm  ok     c:perm  c:perm  c:perm  ok     ok     other  c:perm    ok       ok       ok       c:perm       c:perm
BatchAuthenticate subject=globex         c:-     c:perm  other  c:perm  c:perm  c:perm  other  other  ok     c:perm    ok       other    ok       c:perm       c:perm
BatchAuthenticate subject=internal       c:-     c:perm  ok     c:perm  c:perm  c:perm  ok     ok     ok     c:perm    ok       ok       ok       c:perm       c:perm
BatchAuthenticate subject=garbage        c:-     c:perm  bad    c:perm  c:perm  c:perm  bad    bad    bad    c:perm    bad      bad      bad      c:perm       c:perm
WatchRevocations                         c:-     c:perm  ok     c:perm  c:perm  c:perm  ok     ok     ok     c:perm    ok       ok       ok       c:perm       c:perm
Explain subject=acme                     -       perm    ok     perm    perm    perm    ok     ok     ok     perm      ok       ok       ok       perm         perm
Explain subject=globex                   -       perm    ok     perm    perm    perm    ok     ok     ok     perm      ok       ok       ok       perm         perm
Explain subject=internal                 -       perm    ok     perm    perm    perm    ok     ok     ok     perm      ok       ok       ok       perm         perm
Explain subject=garbage                  -       perm    ok     perm    perm    perm    ok     ok     ok     perm      ok       ok       ok       perm         perm
WhoAmI                                   -       ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
IssueToken                               ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
IssueToken org=acme                      ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
IssueToken org=globex                    login   login   login  login   login   login   login  login  login  login     login    login    login    login        login
IssueToken org=missing                   login   login   login  login   login   login   login  login  login  login     login    login    login    login        login
IssueToken grant=delegation              -       perm    perm   perm    perm    perm    perm   perm   perm   service   ok       ok       ok       perm         perm
RevokeToken                              ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
RevokeToken org=acme                     req     req     req    req     req     req     req    req    req    req       req      req      req      req          req
RevokeToken org=globex                   req     req     req    req     req     req     req    req    req    req       req      req      req      req          req
RevokeToken org=missing                  req     req     req    req     req     req     req    req    req    req       req      req      req      req          req
RevokeToken session=acme                 -       perm    ok     none    none    none    ok     ok     none   ok        ok       ok       ok       ok           perm
RevokeToken session=acme org=acme        -       perm    ok     none    none    none    ok     ok     other  ok        ok       ok       ok       ok           perm
RevokeToken session=acme org=globex      -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
RevokeToken session=acme org=missing     -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RevokeToken session=globex               -       perm    none   none    none    none    none   none   ok     ok        ok       none     ok       ok           perm
RevokeToken session=globex org=acme      -       perm    none   none    none    none    none   none   other  none      none     none     none     none         perm
RevokeToken session=globex org=globex    -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
RevokeToken session=globex org=missing   -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RevokeToken session=missing              -       perm    none   none    none    none    none   none   none   none      none     none     none     none         perm
RevokeToken session=missing org=acme     -       perm    none   none    none    none    none   none   other  none      none     none     none     none         perm
RevokeToken session=missing org=globex   -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
RevokeToken session=missing org=missing  -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RevokeToken session=self                 -       perm    none   ok      ok      ok      ok     ok     ok     ok        none     none     none     none         perm
RevokeToken session=self org=acme        -       perm    none   ok      ok      ok      ok     ok     other  none      none     none     none     none         perm
RevokeToken session=self org=globex      -       other   other  other   other   other   other  other  ok     none      none     two      none     none         perm
RevokeToken session=self org=missing     -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RevokeToken user=acme                    -       perm    ok     perm    perm    perm    ok     ok     none   ok        ok       ok       which    ok           perm
RevokeToken user=acme org=acme           -       perm    ok     perm    perm    perm    ok     ok     other  ok        ok       ok       ok       ok           perm
RevokeToken user=acme org=globex         -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
RevokeToken user=acme org=missing        -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RevokeToken user=globex                  -       perm    none   perm    perm    perm    none   none   ok     ok        ok       none     which    ok           perm
RevokeToken user=globex org=acme         -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
RevokeToken user=globex org=globex       -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
RevokeToken user=globex org=missing      -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RevokeToken user=missing                 -       perm    none   perm    perm    perm    none   none   none   none      none     none     which    none         perm
RevokeToken user=missing org=acme        -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
RevokeToken user=missing org=globex      -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
RevokeToken user=missing org=missing     -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ListSessions                             -       perm    ok     perm    ok      ok      ok     ok     ok     ok        which    ok       which    which        perm
ListSessions org=acme                    -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListSessions org=globex                  -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListSessions org=missing                 -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ListSessions user=acme                   -       perm    ok     perm    ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           perm
ListSessions user=acme org=acme          -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListSessions user=acme org=globex        -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListSessions user=acme org=missing       -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ListSessions user=globex                 -       perm    ok     perm    ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           perm
ListSessions user=globex org=acme        -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListSessions user=globex org=globex      -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListSessions user=globex org=missing     -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ListSessions user=missing                -       perm    ok     perm    ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           perm
ListSessions user=missing org=acme       -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListSessions user=missing org=globex     -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListSessions user=missing org=missing    -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ListSessions user=self                   -       perm    ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           perm
ListSessions user=self org=acme          -       perm    ok     ok      ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListSessions user=self org=globex        -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListSessions user=self org=missing       -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
CreateApiKey                             -       perm    ok     perm    perm    perm    ok     ok     ok     perm      which    ok       which    perm         perm
CreateApiKey org=acme                    -       perm    ok     perm    perm    perm    ok     ok     other  other     ok       ok       ok       perm         perm
CreateApiKey org=globex                  -       other   other  other   other   other   other  other  ok     other     ok       two      ok       perm         perm
CreateApiKey org=missing                 -       other   other  other   other   other   other  other  other  other     nowhere  two      nowhere  perm         perm
GetApiKey id=acme                        -       perm    ok     perm    ok      ok      ok     ok     none   ok        ok       ok       ok       ok           perm
GetApiKey id=globex                      -       perm    none   perm    none    none    none   none   ok     ok        ok       none     ok       ok           perm
GetApiKey id=missing                     -       perm    none   perm    none    none    none   none   none   none      none     none     none     none         perm
ListApiKeys                              -       perm    ok     perm    ok      ok      ok     ok     ok     ok        which    ok       which    which        perm
ListApiKeys org=acme                     -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListApiKeys org=globex                   -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListApiKeys org=missing                  -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RevokeApiKey id=acme                     -       perm    ok     perm    perm    perm    ok     ok     none   ok        ok       ok       ok       ok           perm
RevokeApiKey id=globex                   -       perm    none   perm    perm    perm    none   none   ok     ok        ok       none     ok       ok           perm
RevokeApiKey id=missing                  -       perm    none   perm    perm    perm    none   none   none   none      none     none     none     none         perm
UpdateApiKey id=acme                     -       perm    ok     perm    perm    perm    ok     ok     none   perm      ok       ok       ok       perm         perm
UpdateApiKey id=globex                   -       perm    none   perm    perm    perm    none   none   ok     perm      ok       none     ok       perm         perm
UpdateApiKey id=missing                  -       perm    none   perm    perm    perm    none   none   none   perm      none     none     none     perm         perm
RotateApiKey id=acme                     -       perm    ok     perm    perm    perm    ok     ok     none   perm      ok       ok       held     perm         perm
RotateApiKey id=globex                   -       perm    none   perm    perm    perm    none   none   ok     perm      ok       none     held     perm         perm
RotateApiKey id=missing                  -       perm    none   perm    perm    perm    none   none   none   perm      none     none     none     perm         perm
CancelRotation id=acme                   -       perm    ok     perm    perm    perm    ok     ok     none   perm      ok       ok       held     perm         perm
CancelRotation id=globex                 -       perm    none   perm    perm    perm    none   none   ok     perm      ok       none     held     perm         perm
CancelRotation id=missing                -       perm    none   perm    perm    perm    none   none   none   perm      none     none     none     perm         perm
FinishRotation id=acme                   -       perm    ok     perm    perm    perm    ok     ok     none   perm      ok       ok       ok       perm         perm
FinishRotation id=globex                 -       perm    none   perm    perm    perm    none   none   ok     perm      ok       none     ok       perm         perm
FinishRotation id=missing                -       perm    none   perm    perm    perm    none   none   none   perm      none     none     none     perm         perm
RevokeOwnApiKey                          ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
ImportApiKeys                            -       perm    perm   perm    perm    perm    perm   perm   perm   req       req      req      req      perm         perm
ImportApiKeys org=acme                   -       perm    perm   perm    perm    perm    perm   perm   perm   owner     ok       ok       ok       perm         perm
ImportApiKeys org=globex                 -       perm    perm   perm    perm    perm    perm   perm   perm   owner     ok       two      ok       perm         perm
ImportApiKeys org=missing                -       perm    perm   perm    perm    perm    perm   perm   perm   owner     nowhere  two      nowhere  perm         perm
GetApiKeyUsage id=acme                   -       perm    ok     perm    ok      ok      ok     ok     none   ok        ok       ok       ok       ok           perm
GetApiKeyUsage id=globex                 -       perm    none   perm    none    none    none   none   ok     ok        ok       none     ok       ok           perm
GetApiKeyUsage id=missing                -       perm    none   perm    none    none    none   none   none   none      none     none     none     none         perm
CreateOrganization                       -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
GetOrganization id=acme                  -       perm    ok     perm    ok      ok      ok     ok     none   ok        ok       ok       ok       ok           perm
GetOrganization id=globex                -       perm    none   perm    none    none    none   none   ok     ok        ok       none     ok       ok           perm
GetOrganization id=missing               -       perm    none   perm    none    none    none   none   none   none      none     none     none     none         perm
ListOrganizations                        -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
UpdateOrganization id=acme               -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
UpdateOrganization id=globex             -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
UpdateOrganization id=missing            -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
DeleteOrganization id=acme               -       perm    perm   perm    perm    perm    perm   perm   perm   name      name     name     name     perm         perm
DeleteOrganization id=globex             -       perm    perm   perm    perm    perm    perm   perm   perm   name      name     name     name     perm         perm
DeleteOrganization id=missing            -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
CreateUser                               -       perm    held   perm    perm    perm    ok     ok     ok     ok        which    ok       which    which        perm
CreateUser org=acme                      -       perm    held   perm    perm    perm    ok     ok     other  ok        ok       ok       held     held         perm
CreateUser org=globex                    -       other   other  other   other   other   other  other  ok     ok        ok       two      held     held         perm
CreateUser org=missing                   -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
GetUser id=acme                          -       perm    ok     perm    ok      ok      ok     ok     none   none      which    ok       which    which        perm
GetUser id=acme org=acme                 -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
GetUser id=acme org=globex               -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
GetUser id=acme org=missing              -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
GetUser id=globex                        -       perm    none   perm    none    none    none   none   ok     none      which    none     which    which        perm
GetUser id=globex org=acme               -       perm    none   perm    none    none    none   none   other  none      none     none     none     none         perm
GetUser id=globex org=globex             -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
GetUser id=globex org=missing            -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
GetUser id=missing                       -       perm    none   perm    none    none    none   none   none   none      which    none     which    which        perm
GetUser id=missing org=acme              -       perm    none   perm    none    none    none   none   other  none      none     none     none     none         perm
GetUser id=missing org=globex            -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
GetUser id=missing org=missing           -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
GetUser id=self                          -       perm    none   ok      ok      ok      ok     ok     ok     ok        which    none     which    which        perm
GetUser id=self org=acme                 -       perm    none   ok      ok      ok      ok     ok     other  none      none     none     none     none         perm
GetUser id=self org=globex               -       other   other  other   other   other   other  other  ok     none      none     two      none     none         perm
GetUser id=self org=missing              -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ListUsers                                -       perm    ok     perm    ok      ok      ok     ok     ok     ok        which    ok       which    which        perm
ListUsers org=acme                       -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListUsers org=globex                     -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListUsers org=missing                    -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
UpdateUser id=acme                       -       perm    ok     perm    perm    perm    ok     ok     none   none      which    ok       which    which        perm
UpdateUser id=acme org=acme              -       perm    ok     perm    perm    perm    ok     ok     other  ok        ok       ok       ok       ok           perm
UpdateUser id=acme org=globex            -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
UpdateUser id=acme org=missing           -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
UpdateUser id=globex                     -       perm    none   perm    perm    perm    none   none   ok     none      which    none     which    which        perm
UpdateUser id=globex org=acme            -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
UpdateUser id=globex org=globex          -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
UpdateUser id=globex org=missing         -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
UpdateUser id=missing                    -       perm    none   perm    perm    perm    none   none   none   none      which    none     which    which        perm
UpdateUser id=missing org=acme           -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
UpdateUser id=missing org=globex         -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
UpdateUser id=missing org=missing        -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
UpdateUser id=self                       -       perm    none   perm    perm    perm    ok     ok     ok     ok        which    none     which    which        perm
UpdateUser id=self org=acme              -       perm    none   perm    perm    perm    ok     ok     other  none      none     none     none     none         perm
UpdateUser id=self org=globex            -       other   other  other   other   other   other  other  ok     none      none     two      none     none         perm
UpdateUser id=self org=missing           -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RemoveMembership id=acme                 -       perm    ok     perm    perm    perm    ok     ok     none   none      which    ok       which    which        perm
RemoveMembership id=acme org=acme        -       perm    ok     perm    perm    perm    ok     ok     other  ok        ok       ok       ok       ok           perm
RemoveMembership id=acme org=globex      -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
RemoveMembership id=acme org=missing     -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RemoveMembership id=globex               -       perm    none   perm    perm    perm    none   none   ok     none      which    none     which    which        perm
RemoveMembership id=globex org=acme      -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
RemoveMembership id=globex org=globex    -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
RemoveMembership id=globex org=missing   -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
RemoveMembership id=missing              -       perm    none   perm    perm    perm    none   none   none   none      which    none     which    which        perm
RemoveMembership id=missing org=acme     -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
RemoveMembership id=missing org=globex   -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
RemoveMembership id=missing org=missing  -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ImportUsers                              -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
ChangePassword                           ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
AcceptMembership                         login   login   login  login   login   login   login  login  login  login     login    login    login    login        login
ResetPassword id=acme                    -       perm    held   perm    perm    perm    ok     ok     none   none      which    ok       which    which        perm
ResetPassword id=acme org=acme           -       perm    held   perm    perm    perm    ok     ok     other  held      ok       ok       held     held         perm
ResetPassword id=acme org=globex         -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
ResetPassword id=acme org=missing        -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ResetPassword id=globex                  -       perm    none   perm    perm    perm    none   none   ok     none      which    none     which    which        perm
ResetPassword id=globex org=acme         -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
ResetPassword id=globex org=globex       -       other   other  other   other   other   other  other  ok     held      ok       two      held     held         perm
ResetPassword id=globex org=missing      -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ResetPassword id=missing                 -       perm    none   perm    perm    perm    none   none   none   none      which    none     which    which        perm
ResetPassword id=missing org=acme        -       perm    none   perm    perm    perm    none   none   other  none      none     none     none     none         perm
ResetPassword id=missing org=globex      -       other   other  other   other   other   other  other  none   none      none     two      none     none         perm
ResetPassword id=missing org=missing     -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ResetPassword id=self                    -       perm    none   perm    perm    perm    acct   acct   acct   acct      which    none     which    which        perm
ResetPassword id=self org=acme           -       perm    none   perm    perm    perm    acct   acct   other  acct      none     none     none     none         perm
ResetPassword id=self org=globex         -       other   other  other   other   other   other  other  acct   acct      none     two      none     none         perm
ResetPassword id=self org=missing        -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
DeleteUser id=acme                       -       perm    held   perm    perm    perm    ok     ok     none   ok        ok       ok       which    ok           perm
DeleteUser id=globex                     -       perm    none   perm    perm    perm    none   none   ok     ok        ok       none     which    ok           perm
DeleteUser id=missing                    -       perm    none   perm    perm    perm    none   none   none   none      none     none     which    none         perm
ListMemberships id=acme                  -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
ListMemberships id=globex                -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
ListMemberships id=missing               -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
ListMemberships id=self                  -       perm    perm   ok      ok      ok      ok     ok     ok     ok        none     none     none     perm         perm
CreateRole                               -       perm    ok     perm    perm    perm    ok     ok     ok     perm      which    ok       which    perm         perm
CreateRole org=acme                      -       perm    ok     perm    perm    perm    ok     ok     other  other     ok       ok       ok       perm         perm
CreateRole org=globex                    -       other   other  other   other   other   other  other  ok     other     ok       two      ok       perm         perm
CreateRole org=missing                   -       other   other  other   other   other   other  other  other  other     nowhere  two      nowhere  perm         perm
ListRoles                                -       perm    ok     perm    ok      ok      ok     ok     ok     ok        which    ok       which    perm         perm
ListRoles org=acme                       -       perm    ok     perm    ok      ok      ok     ok     other  other     ok       ok       ok       perm         perm
ListRoles org=globex                     -       other   other  other   other   other   other  other  ok     other     ok       two      ok       perm         perm
ListRoles org=missing                    -       other   other  other   other   other   other  other  other  other     nowhere  two      nowhere  perm         perm
UpdateRole id=acme                       -       perm    ok     perm    perm    perm    ok     ok     none   perm      ok       ok       ok       perm         perm
UpdateRole id=globex                     -       perm    none   perm    perm    perm    none   none   ok     perm      ok       none     ok       perm         perm
UpdateRole id=missing                    -       perm    none   perm    perm    perm    none   none   none   perm      none     none     none     perm         perm
DeleteRole id=acme                       -       perm    ok     perm    perm    perm    ok     ok     none   perm      ok       ok       ok       perm         perm
DeleteRole id=globex                     -       perm    none   perm    perm    perm    none   none   ok     perm      ok       none     ok       perm         perm
DeleteRole id=missing                    -       perm    none   perm    perm    perm    none   none   none   perm      none     none     none     perm         perm
ListPermissions                          -       ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
DefinePermission                         -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
CreateServiceKey                         -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
ListServiceKeys                          -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
RevokeServiceKey id=known                -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
RevokeServiceKey id=missing              -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
GetServiceKey id=known                   -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
GetServiceKey id=missing                 -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
UpdateServiceKey id=known                -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
UpdateServiceKey id=missing              -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
RotateServiceKey id=known                -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       held     perm         perm
RotateServiceKey id=missing              -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
CancelServiceKeyRotation id=known        -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       held     perm         perm
CancelServiceKeyRotation id=missing      -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
FinishServiceKeyRotation id=known        -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
FinishServiceKeyRotation id=missing      -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
GetServiceKeyUsage id=known              -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok       ok       ok       perm         perm
GetServiceKeyUsage id=missing            -       perm    perm   perm    perm    perm    perm   perm   perm   none      none     none     none     perm         perm
ListSigningKeys                          -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok      ok       ok       perm         perm
RotateSigningKey                         -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok      ok       ok       perm         perm
RevokeSigningKey id=known                -       perm    perm   perm    perm    perm    perm   perm   perm   ok        ok      ok       ok       perm         perm
RevokeSigningKey id=missing              -       perm    perm   perm    perm    perm    perm   perm   perm   none      none    none     none     perm         perm
ListAuditEvents                          -       perm    ok     perm    ok      ok      ok     ok     ok     ok        which    ok       which    which        perm
ListAuditEvents org=acme                 -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListAuditEvents org=globex               -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListAuditEvents org=missing              -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
VerifyAuditLog                           -       perm    ok     perm    ok      ok      ok     ok     ok     ok        which    ok       which    which        perm
VerifyAuditLog org=acme                  -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
VerifyAuditLog org=globex                -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
VerifyAuditLog org=missing               -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
ListAuditCheckpoints                     -       perm    ok     perm    ok      ok      ok     ok     ok     ok        which    ok       which    which        perm
ListAuditCheckpoints org=acme            -       perm    ok     perm    ok      ok      ok     ok     other  ok        ok       ok       ok       ok           perm
ListAuditCheckpoints org=globex          -       other   other  other   other   other   other  other  ok     ok        ok       two      ok       ok           perm
ListAuditCheckpoints org=missing         -       other   other  other   other   other   other  other  other  nowhere   nowhere  two      nowhere  nowhere      perm
Check                                    ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
List                                     ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
Watch                                    ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
ServerReflectionInfo                     ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
ServerReflectionInfo(v1alpha)            ok      ok      ok     ok      ok      ok      ok     ok     ok     ok        ok       ok       ok       ok           ok
`;

export interface Row {
  /** The method, and what it names: `GetUser id=acme org=globex`. */
  readonly call: string;
  /** By caller: `ok`, or a code. */
  readonly answers: Readonly<Record<string, string>>;
}

export const [CALLERS, ROWS] = readTable();

function readTable(): [readonly string[], readonly Row[]] {
  const [head = [], ...rows] = TABLE.trim()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.trim().split(/\s{2,}/));
  const callers = head.slice(1);
  return [
    callers,
    rows.map(([call = "", ...answers]) => {
      if (answers.length !== callers.length) {
        throw new Error(`the row of ${call} has ${answers.length} answers`);
      }
      return { call, answers: Object.fromEntries(answers.map((answer, at) => [callers[at], answer])) };
    }),
  ];
}
