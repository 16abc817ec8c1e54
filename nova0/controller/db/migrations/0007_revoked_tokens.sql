CREATE INDEX "revoked_token_forget_at" ON "revoked_token" ("forget_at");
