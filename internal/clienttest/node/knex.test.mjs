// Knex: migrations up and down, the query builder, introspection.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import knexFactory from 'knex';
import { connection } from './connection.mjs';

const knex = knexFactory({ client: 'pg', connection, pool: { min: 0, max: 3 } });

const migrations = [
  {
    name: '001_clinic',
    up: async (k) => {
      await k.schema.createTable('knex_clinic', (t) => {
        t.increments('id');
        t.string('name', 60).notNullable().unique();
        t.timestamps(true, true);
      });
      await k.schema.createTable('knex_room', (t) => {
        t.bigIncrements('id');
        t.integer('clinic_id').notNullable().references('id').inTable('knex_clinic').onDelete('CASCADE');
        t.decimal('area', 8, 2);
        t.boolean('open').defaultTo(true);
        t.jsonb('equipment');
        t.index(['clinic_id', 'open']);
      });
    },
    down: async (k) => {
      await k.schema.dropTable('knex_room');
      await k.schema.dropTable('knex_clinic');
    },
  },
  {
    name: '002_floor',
    up: (k) => k.schema.alterTable('knex_room', (t) => { t.integer('floor').defaultTo(0); }),
    down: (k) => k.schema.alterTable('knex_room', (t) => { t.dropColumn('floor'); }),
  },
];

const migrationSource = {
  getMigrations: async () => migrations,
  getMigrationName: (m) => m.name,
  getMigration: async (m) => m,
};

after(() => knex.destroy());

test('migrations run, the builder works on what they made, and they are undone', async () => {
  const [batch, ran] = await knex.migrate.latest({ migrationSource });
  assert.equal(batch, 1);
  assert.deepEqual(ran, ['001_clinic', '002_floor']);
  assert.deepEqual((await knex.migrate.latest({ migrationSource }))[1], []);
  assert.equal(await knex.schema.hasTable('knex_room'), true);
  assert.equal(await knex.schema.hasColumn('knex_room', 'floor'), true);

  const [{ id }] = await knex('knex_clinic').insert({ name: 'North' }).returning('id');
  assert.equal(typeof id, 'number');
  await knex('knex_room').insert([
    { clinic_id: id, area: 12.5, equipment: JSON.stringify({ beds: 2 }) },
    { clinic_id: id, area: 30, open: false, floor: 2 },
  ]);
  const rooms = await knex('knex_room as r').join('knex_clinic as c', 'c.id', 'r.clinic_id')
    .where('c.name', 'North').orderBy('r.area', 'desc').select('r.area', 'r.open', 'r.floor', 'r.equipment');
  assert.deepEqual(rooms, [
    { area: '30.00', open: false, floor: 2, equipment: null },
    { area: '12.50', open: true, floor: 0, equipment: { beds: 2 } },
  ]);

  await knex('knex_clinic').insert({ name: 'North' }).onConflict('name').merge({ updated_at: knex.fn.now() });
  const [{ count }] = await knex('knex_clinic').count();
  assert.equal(Number(count), 1);
  assert.equal((await knex('knex_clinic').whereILike('name', 'nOr%')).length, 1);
  assert.equal((await knex('knex_clinic').whereLike('name', 'nOr%')).length, 0);

  await assert.rejects(knex.transaction(async (trx) => {
    await trx('knex_clinic').where({ id }).del();
    throw new Error('undo');
  }), /undo/);
  assert.equal((await knex('knex_room')).length, 2);
  const info = await knex('knex_clinic').columnInfo();
  assert.equal(info.name.type, 'character varying');
  assert.equal(info.name.maxLength, 60);
  assert.equal(info.id.type, 'integer');

  await knex.migrate.rollback({ migrationSource }, true);
  assert.equal(await knex.schema.hasTable('knex_clinic'), false);
  await knex.schema.dropTable('knex_migrations_lock');
  await knex.schema.dropTable('knex_migrations');
});
