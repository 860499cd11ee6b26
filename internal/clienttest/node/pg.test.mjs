// node-postgres: types, parameters, prepared statements, transactions,
// cursors, COPY, errors and cancellation.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import pg from 'pg';
import Cursor from 'pg-cursor';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { connection } from './connection.mjs';

const pool = new pg.Pool({ ...connection, max: 4 });

before(async () => {
  await pool.query('DROP TABLE IF EXISTS node_visit');
  await pool.query('DROP TABLE IF EXISTS node_patient');
  await pool.query(`CREATE TABLE node_patient (
    id bigserial PRIMARY KEY,
    name varchar(80) NOT NULL,
    born date,
    weight double precision,
    fee numeric(10,2) DEFAULT 0,
    active boolean NOT NULL DEFAULT true,
    tags jsonb,
    photo bytea,
    key uuid DEFAULT gen_random_uuid(),
    seen timestamptz DEFAULT now()
  )`);
  await pool.query(`CREATE TABLE node_visit (
    id serial PRIMARY KEY,
    patient bigint NOT NULL REFERENCES node_patient (id) ON DELETE CASCADE,
    at timestamp NOT NULL,
    reason text
  )`);
});

after(async () => {
  await pool.query('DROP TABLE node_visit');
  await pool.query('DROP TABLE node_patient');
  await pool.end();
});

test('every common type goes in and comes back as JavaScript knows it', async () => {
  const seen = new Date('2026-03-04T05:06:07.089Z');
  const { rows, rowCount, fields } = await pool.query(
    `INSERT INTO node_patient (name, born, weight, fee, active, tags, photo, key, seen)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *`,
    ['Ada', '1815-12-10', 61.5, '120.50', false, { b: [1, 2], a: null }, Buffer.from([0, 255, 1]),
      'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', seen]);
  assert.equal(rowCount, 1);
  const row = rows[0];
  assert.equal(typeof row.id, 'string', 'int8 is a string in node-postgres');
  assert.equal(row.name, 'Ada');
  assert.equal(row.weight, 61.5);
  assert.equal(row.fee, '120.50');
  assert.equal(row.active, false);
  assert.deepEqual(row.tags, { a: null, b: [1, 2] });
  assert.deepEqual([...row.photo], [0, 255, 1]);
  assert.equal(row.key, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
  assert.equal(row.seen.toISOString(), seen.toISOString());
  assert.equal(row.born.getFullYear(), 1815);
  assert.deepEqual(fields.map((f) => f.dataTypeID), [20, 1043, 1082, 701, 1700, 16, 3802, 17, 2950, 1184]);
});

test('defaults are filled in', async () => {
  const { rows: [row] } = await pool.query("INSERT INTO node_patient (name) VALUES ('Bob') RETURNING *");
  assert.equal(row.active, true);
  assert.equal(row.fee, '0.00');
  assert.match(row.key, /^[0-9a-f-]{36}$/);
  assert.ok(Math.abs(row.seen - Date.now()) < 60_000);
});

test('a named statement is prepared once and used again', async () => {
  const client = await pool.connect();
  try {
    for (let i = 0; i < 5; i++) {
      const { rows } = await client.query({ name: 'sum', text: 'SELECT $1::int + $2::int AS sum', values: [i, 10] });
      assert.equal(rows[0].sum, i + 10);
    }
  } finally {
    client.release();
  }
});

test('a transaction commits whole or not at all, and a savepoint undoes a part', async () => {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const { rows: [{ id }] } = await client.query("INSERT INTO node_patient (name) VALUES ('Eve') RETURNING id");
    await client.query('SAVEPOINT here');
    await assert.rejects(
      client.query('INSERT INTO node_visit (patient, at) VALUES ($1, $2)', [id, 'not a time']),
      (err) => err.code.startsWith('22'));
    await assert.rejects(client.query('SELECT 1'), (err) => err.code === '25P02');
    await client.query('ROLLBACK TO SAVEPOINT here');
    await client.query('INSERT INTO node_visit (patient, at, reason) VALUES ($1, $2, $3)', [id, '2026-01-02 03:04:05', 'flu']);
    await client.query('COMMIT');
    const { rows } = await client.query('SELECT reason FROM node_visit WHERE patient = $1', [id]);
    assert.deepEqual(rows, [{ reason: 'flu' }]);

    await client.query('BEGIN');
    await client.query('DELETE FROM node_patient WHERE id = $1', [id]);
    await client.query('ROLLBACK');
    const { rows: [{ count }] } = await client.query('SELECT count(*) FROM node_patient WHERE id = $1', [id]);
    assert.equal(count, '1');
  } finally {
    client.release();
  }
});

test('constraints are enforced, each with its own SQLSTATE and names', async () => {
  const cases = [
    ["INSERT INTO node_patient (id, name) VALUES (1, 'x'), (1, 'y')", '23505'],
    ['INSERT INTO node_patient (name) VALUES (NULL)', '23502'],
    ["INSERT INTO node_visit (patient, at) VALUES (99999, '2026-01-01')", '23503'],
    ["INSERT INTO node_patient (name) VALUES (repeat('x', 81))", '22001'],
    ["INSERT INTO node_patient (name, fee) VALUES ('x', 'much')", '22P02'],
    ['SELECT * FROM node_nothing', '42P01'],
    ['SELECT nothing FROM node_patient', '42703'],
    ['SELEC 1', '42601'],
    ['SELECT 1/0', '22012'],
  ];
  for (const [sql, code] of cases) {
    await assert.rejects(pool.query(sql), (err) => {
      assert.equal(err.code, code, `${sql}: ${err.code} ${err.message}`);
      return true;
    });
  }
});

test('ANY takes an array parameter', async () => {
  const { rows: made } = await pool.query(
    "INSERT INTO node_patient (name) VALUES ('any1'), ('any2'), ('any3') RETURNING id");
  const ids = made.map((r) => r.id);
  const { rows } = await pool.query('SELECT name FROM node_patient WHERE id = ANY($1) ORDER BY name', [ids.slice(1)]);
  assert.deepEqual(rows.map((r) => r.name), ['any2', 'any3']);
});

test('COPY in and out carry a stream', async () => {
  const client = await pool.connect();
  try {
    await client.query('CREATE TABLE node_copy (id int PRIMARY KEY, note text)');
    const lines = Array.from({ length: 5000 }, (_, i) => `${i}\tnote ${i}\n`);
    await pipeline(Readable.from(lines), client.query(copyFrom('COPY node_copy FROM STDIN')));
    const { rows: [{ count, sum }] } = await client.query('SELECT count(*), sum(id) FROM node_copy');
    assert.equal(count, '5000');
    assert.equal(sum, String((4999 * 5000) / 2));
    let text = '';
    const out = client.query(copyTo('COPY (SELECT id, note FROM node_copy ORDER BY id LIMIT 2) TO STDOUT WITH CSV HEADER'));
    for await (const chunk of out) text += chunk;
    assert.equal(text, 'id,note\n0,note 0\n1,note 1\n');
    await client.query('DROP TABLE node_copy');
  } finally {
    client.release();
  }
});

test('a cursor reads a part at a time', async () => {
  const client = await pool.connect();
  try {
    const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, 25) AS g(n)'));
    const sizes = [];
    for (;;) {
      const rows = await cursor.read(10);
      if (rows.length === 0) break;
      sizes.push(rows.length);
    }
    assert.deepEqual(sizes, [10, 10, 5]);
    await cursor.close();
  } finally {
    client.release();
  }
});

test('many clients at once lose no insert', async () => {
  await pool.query('CREATE TABLE node_many (id int PRIMARY KEY)');
  await Promise.all(Array.from({ length: 200 }, (_, i) => pool.query('INSERT INTO node_many VALUES ($1)', [i])));
  const { rows: [{ count }] } = await pool.query('SELECT count(*) FROM node_many');
  assert.equal(count, '200');
  await pool.query('DROP TABLE node_many');
});
