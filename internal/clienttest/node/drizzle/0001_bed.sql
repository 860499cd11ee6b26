CREATE TABLE "drizzle_bed" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY NOT NULL,
	"ward_id" integer NOT NULL,
	"label" text
);
--> statement-breakpoint
ALTER TABLE "drizzle_bed" ADD CONSTRAINT "drizzle_bed_ward_id_drizzle_ward_id_fk" FOREIGN KEY ("ward_id") REFERENCES "public"."drizzle_ward"("id") ON DELETE cascade ON UPDATE no action;
--> statement-breakpoint
CREATE INDEX "drizzle_bed_ward" ON "drizzle_bed" USING btree ("ward_id");
