UPDATE "instance" SET "admin_password" = NULL WHERE "admin_password" IS NOT NULL AND ("deleted_at" IS NOT NULL OR "vm_state" != 'building' OR NOT "config_drive");
UPDATE "instance" SET "user_data" = NULL WHERE "user_data" IS NOT NULL AND "deleted_at" IS NOT NULL;
CREATE TABLE "past_instance" ("uuid" VARCHAR(255) NOT NULL PRIMARY KEY, "generation" INTEGER NOT NULL, "name" VARCHAR(255) NOT NULL, "project_id" VARCHAR(255) NOT NULL, "flavor" TEXT NOT NULL, "vm_state" VARCHAR(255) NOT NULL, "launched_at" REAL, "terminated_at" REAL, "deleted_at" REAL NOT NULL);
CREATE INDEX "past_instance_project_id" ON "past_instance" ("project_id");
