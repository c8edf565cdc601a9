-- What a role of PostgreSQL needs that `latchkey serve` runs as, where it is not the owner of the database. It may
-- add to the audit record, and erase what that says of a person; it may neither change nor delete anything else of it.
--
--   psql "$DATABASE_URL" -v role=latchkey_service -f deploy/database-role.sql
--
-- Run it as the owner, once the role exists, and again after each `latchkey migrate`.

grant usage on schema public to :"role";
grant select, insert, update, delete on all tables in schema public to :"role";
grant usage on all sequences in schema public to :"role";

revoke update, delete on audit_events, audit_personal_data, audit_seals, audit_checkpoints, audit_keys from :"role";
grant update (salt, data) on audit_personal_data to :"role";
revoke insert, update, delete on latchkey_migrations from :"role";
