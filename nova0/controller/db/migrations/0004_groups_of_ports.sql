CREATE TABLE "port_group" ("group_id" VARCHAR(255) NOT NULL, "port_id" VARCHAR(255) NOT NULL, PRIMARY KEY ("group_id", "port_id"));
CREATE INDEX "port_group_port_id" ON "port_group" ("port_id");
INSERT OR IGNORE INTO "port_group" ("group_id", "port_id") SELECT "value", "port"."id" FROM "port", json_each("port"."security_groups");
CREATE TRIGGER "port_made" AFTER INSERT ON "port" BEGIN INSERT OR IGNORE INTO "port_group" SELECT "value", NEW."id" FROM json_each(NEW."security_groups"); END;
CREATE TRIGGER "port_regrouped" AFTER UPDATE OF "security_groups" ON "port" WHEN OLD."security_groups" IS NOT NEW."security_groups" BEGIN DELETE FROM "port_group" WHERE "port_id" = OLD."id"; INSERT OR IGNORE INTO "port_group" SELECT "value", NEW."id" FROM json_each(NEW."security_groups"); END;
CREATE TRIGGER "port_gone" AFTER DELETE ON "port" BEGIN DELETE FROM "port_group" WHERE "port_id" = OLD."id"; END;
