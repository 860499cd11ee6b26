// Drizzle: its migrator on migrations as drizzle-kit writes them, and queries
// with relations, upserts and transactions.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { and, eq, gt, inArray, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate } from 'drizzle-orm/node-postgres/migrator';
import { bigint, integer, jsonb, pgTable, serial, text, timestamp, varchar } from 'drizzle-orm/pg-core';
import { connection } from './connection.mjs';

const ward = pgTable('drizzle_ward', {
  id: serial('id').primaryKey(),
  name: varchar('name', { length: 64 }).notNull().unique(),
  beds: integer('beds').notNull().default(0),
  config: jsonb('config').default({}),
  createdAt: timestamp('created_at', { withTimezone: true }).notNull().defaultNow(),
});
const bed = pgTable('drizzle_bed', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  wardId: integer('ward_id').notNull().references(() => ward.id, { onDelete: 'cascade' }),
  label: text('label'),
});

const pool = new pg.Pool({ ...connection, max: 3 });
const db = drizzle(pool);

before(() => migrate(db, {
  migrationsFolder: fileURLToPath(new URL('./drizzle', import.meta.url)),
  migrationsSchema: 'public', // Kimberlite has one schema a tenant
}));

after(async () => {
  for (const name of ['drizzle_bed', 'drizzle_ward', '__drizzle_migrations']) await pool.query(`DROP TABLE ${name}`);
  await pool.end();
});

test('migrating again does nothing', async () => {
  await migrate(db, { migrationsFolder: fileURLToPath(new URL('./drizzle', import.meta.url)), migrationsSchema: 'public' });
  const { rows } = await pool.query('SELECT count(*)::int AS n FROM __drizzle_migrations');
  assert.equal(rows[0].n, 2);
});

test('rows go in, are joined, grouped, changed and taken out', async () => {
  const [w1, w2] = await db.insert(ward).values([{ name: 'East', beds: 4 }, { name: 'West', config: { wing: 'w' } }]).returning();
  assert.equal(typeof w1.id, 'number');
  assert.ok(w1.createdAt instanceof Date);
  assert.deepEqual(w2.config, { wing: 'w' });
  await db.insert(bed).values([{ wardId: w1.id, label: 'a' }, { wardId: w1.id, label: 'b' }, { wardId: w2.id }]);
  const counts = await db.select({ name: ward.name, n: sql`count(${bed.id})`.mapWith(Number) })
    .from(ward).leftJoin(bed, eq(bed.wardId, ward.id)).groupBy(ward.name).orderBy(ward.name);
  assert.deepEqual(counts, [{ name: 'East', n: 2 }, { name: 'West', n: 1 }]);

  await db.insert(ward).values({ name: 'East', beds: 9 }).onConflictDoUpdate({ target: ward.name, set: { beds: sql`excluded.beds + 1` } });
  const [east] = await db.select().from(ward).where(and(eq(ward.name, 'East'), gt(ward.beds, 5)));
  assert.equal(east.beds, 10);
  assert.equal((await db.select().from(bed).where(inArray(bed.wardId, [w1.id, w2.id]))).length, 3);

  await assert.rejects(db.transaction(async (tx) => {
    await tx.delete(ward).where(eq(ward.id, w1.id));
    await tx.transaction(async (inner) => { await inner.update(ward).set({ beds: 1 }); });
    tx.rollback();
  }));
  await db.delete(ward).where(eq(ward.id, w1.id));
  assert.equal((await db.select().from(bed)).length, 1, 'the beds of the ward went with it');
});
