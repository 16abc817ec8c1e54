ALTER TABLE "user" ADD COLUMN "token_series" VARCHAR(255) NOT NULL DEFAULT '';
ALTER TABLE "revoked_token" ADD COLUMN "forget_at" REAL NOT NULL DEFAULT 14400;
UPDATE "operation" SET "not_before" = 0, "lease_until" = NULL;
