ALTER TABLE "host" ADD COLUMN "resources_used" TEXT NOT NULL DEFAULT '{}';
ALTER TABLE "claim" ADD COLUMN "resources" TEXT NOT NULL DEFAULT '{}';
ALTER TABLE "instance" ADD COLUMN "wanted_host" VARCHAR(255);
