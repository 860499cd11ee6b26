// How every test connects: PGHOST, PGPORT, PGUSER and PGPASSWORD as psql has
// them, and PGSSLROOTCERT for the server's certificate, which is verified. No
// PGSSLROOTCERT is no TLS: for running the tests against PostgreSQL itself.
import { readFileSync } from 'node:fs';

export const connection = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
  ssl: process.env.PGSSLROOTCERT
    ? { ca: readFileSync(process.env.PGSSLROOTCERT), rejectUnauthorized: true }
    : false,
};
