import { Migration } from "@mikro-orm/migrations";

/** API keys of other systems: how their texts look, and what is known of their secrets until they are used. */
export class ImportedKeys extends Migration {
  override up(): void {
    this.addSql(`
      create table imported_key_formats (
        id uuid primary key,
        prefix text not null,
        length smallint not null,
        alphabet text not null check (alphabet in ('hex', 'base62', 'base64url', 'printable')),
        algorithm text not null check (algorithm in
          ('sha256', 'sha512', 'hmac-sha256', 'hmac-sha512', 'bcrypt', 'scrypt', 'argon2')),
        -- Of an HMAC: what it is told from others by, under the pepper, and the secret itself, sealed.
        hmac_secret_digest bytea,
        sealed_hmac_secret bytea,
        create_time timestamptz not null default now(),
        constraint imported_key_formats_key
          unique nulls not distinct (prefix, length, alphabet, algorithm, hmac_secret_digest),
        check ((algorithm like 'hmac-%') = (sealed_hmac_secret is not null)),
        check ((hmac_secret_digest is null) = (sealed_hmac_secret is null))
      )`);

    this.addSql(`
      create table imported_key_hashes (
        api_key_id uuid primary key,
        organization_id uuid not null,
        format_id uuid not null references imported_key_formats (id),
        -- HMAC-SHA-256 of the foreign hash under the pepper. It stays, so that a second import is recognized.
        fingerprint bytea not null constraint imported_key_hashes_fingerprint_key unique,
        pepper_id uuid not null references peppers (id),
        -- Of what the key was imported with.
        content_digest bytea not null,
        -- A hash that no index finds, and the start of the text: until the key is first used.
        salted_hash text,
        lookup_prefix text collate "C",
        -- The end of an overlap.
        expire_time timestamptz,
        -- When a slot took its place.
        rehash_time timestamptz,
        foreign key (organization_id, api_key_id) references api_keys (organization_id, id),
        check ((salted_hash is null) = (lookup_prefix is null)),
        check (rehash_time is null or salted_hash is null)
      )`);
    this.addSql(`
      create index imported_key_hashes_lookup_prefix_idx on imported_key_hashes (lookup_prefix)
        where lookup_prefix is not null`);
  }
}
