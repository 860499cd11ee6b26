"""psycopg2 against the server that libpq's variables name."""

import datetime
import decimal
import io
import unittest
import uuid

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras

psycopg2.extras.register_uuid()


class Psycopg2(unittest.TestCase):
    def setUp(self):
        self.conn = psycopg2.connect("")
        with self.conn, self.conn.cursor() as cur:
            cur.execute("DROP TABLE IF EXISTS py_visit")
            cur.execute("DROP TABLE IF EXISTS py_patient")
            cur.execute(
                """CREATE TABLE py_patient (id serial PRIMARY KEY, name text NOT NULL UNIQUE, born date,
                seen timestamptz, weight numeric(10,2), active boolean DEFAULT true, code uuid, data jsonb,
                raw bytea, score double precision, tags text[], ns int[])"""
            )
            cur.execute(
                """CREATE TABLE py_visit (id serial PRIMARY KEY,
                patient_id int NOT NULL REFERENCES py_patient (id), note varchar(10) CHECK (note <> ''))"""
            )

    def tearDown(self):
        self.conn.close()

    def fill(self, cur, n):
        psycopg2.extras.execute_values(
            cur, "INSERT INTO py_patient (name, score) VALUES %s", [("p%03d" % i, i / 2) for i in range(n)]
        )

    def test_types_come_back_as_they_went(self):
        row = (
            "Jürgen 'quoted' \\ backslash", datetime.date(1970, 2, 3),
            datetime.datetime(2026, 11, 23, 20, 0, 0, 500000, tzinfo=datetime.timezone.utc),
            decimal.Decimal("12.30"), False, uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            {"a": [1, None, "x"]}, b"\x00\x01\xff", 2.5, ["a", 'b "c"', None], [1, 2, 3],
        )
        columns = "name, born, seen, weight, active, code, data, raw, score, tags, ns"
        with self.conn, self.conn.cursor() as cur:
            sent = list(row)
            sent[6] = psycopg2.extras.Json(row[6])
            sent[7] = psycopg2.Binary(row[7])
            cur.execute(
                "INSERT INTO py_patient (" + columns + ") VALUES (" + ", ".join(["%s"] * len(row)) + ") RETURNING id", sent
            )
            ident = cur.fetchone()[0]
            cur.execute("SELECT " + columns + " FROM py_patient WHERE id = %s", (ident,))
            got = list(cur.fetchone())
            got[7] = bytes(got[7])
            self.assertEqual(tuple(got), row)
            self.assertEqual([d.name for d in cur.description], columns.split(", "))
            cur.execute("SELECT %s, %s, %s::int[] || 4, now() - %s > interval '1 day'",
                        (None, True, [1, 2], datetime.datetime(2020, 1, 1)))
            self.assertEqual(cur.fetchone(), (None, True, [1, 2, 4], True))
            cur.execute("SELECT count(*) FROM py_patient WHERE name = ANY(%s) AND id IN %s", ([row[0]], (ident, 0)))
            self.assertEqual(cur.fetchone(), (1,))

    def test_named_cursors_read_in_portions(self):
        with self.conn, self.conn.cursor() as cur:
            self.fill(cur, 100)
        with self.conn:
            with self.conn.cursor("people") as cur, self.conn.cursor() as other:
                cur.itersize = 7
                cur.execute("SELECT id, name FROM py_patient WHERE name <> %s ORDER BY id", ("nobody",))
                names = []
                for n, (ident, name) in enumerate(cur):
                    names.append(name)
                    if n % 10 == 0:
                        other.execute("UPDATE py_patient SET score = -1 WHERE id = %s", (ident,))
                self.assertEqual(names, ["p%03d" % i for i in range(100)])
            with self.conn.cursor("few") as cur:
                cur.execute("SELECT name FROM py_patient ORDER BY id")
                self.assertEqual(cur.fetchone(), ("p000",))
                self.assertEqual(len(cur.fetchmany(5)), 5)
                cur.scroll(4)
                self.assertEqual(cur.fetchone(), ("p010",))
                self.assertEqual(len(cur.fetchall()), 89)
            with self.conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cur:
                cur.execute("SELECT count(*) AS n FROM py_patient WHERE score = -1")
                self.assertEqual(cur.fetchone()["n"], 10)

    def test_many_at_once(self):
        with self.conn, self.conn.cursor() as cur:
            cur.executemany("INSERT INTO py_patient (name) VALUES (%s)", [("m%d" % i,) for i in range(20)])
            psycopg2.extras.execute_batch(
                cur, "UPDATE py_patient SET score = %s WHERE name = %s", [(i, "m%d" % i) for i in range(20)]
            )
            rows = psycopg2.extras.execute_values(
                cur, "INSERT INTO py_patient (name) VALUES %s RETURNING name", [("v%d" % i,) for i in range(5)], fetch=True
            )
            self.assertEqual(sorted(r[0] for r in rows), ["v0", "v1", "v2", "v3", "v4"])
            cur.execute("SELECT sum(score), count(*) FROM py_patient")
            self.assertEqual(cur.fetchone(), (190.0, 25))

    def test_copy_both_ways(self):
        with self.conn, self.conn.cursor() as cur:
            text = "a\t1.5\nb\t\\N\ntab\\there\t3\n"
            cur.copy_from(io.StringIO(text), "py_patient", columns=("name", "score"))
            self.assertEqual(cur.rowcount, 3)
            out = io.StringIO()
            cur.copy_expert("COPY (SELECT name, score FROM py_patient ORDER BY id) TO STDOUT", out)
            self.assertEqual(out.getvalue(), text)
            out = io.StringIO()
            cur.copy_expert("COPY py_patient (name, score) TO STDOUT WITH (FORMAT csv, HEADER)", out)
            self.assertEqual(out.getvalue(), "name,score\na,1.5\nb,\ntab\there,3\n")
            binary = io.BytesIO()
            cur.copy_expert("COPY py_patient (name, score) TO STDOUT WITH (FORMAT binary)", binary)
            cur.execute("DELETE FROM py_patient")
            binary.seek(0)
            cur.copy_expert("COPY py_patient (name, score) FROM STDIN WITH (FORMAT binary)", binary)
            cur.execute("SELECT name, score FROM py_patient ORDER BY id")
            self.assertEqual(cur.fetchall(), [("a", 1.5), ("b", None), ("tab\there", 3.0)])

    def test_transactions(self):
        cur = self.conn.cursor()
        self.fill(cur, 3)
        self.conn.rollback()
        cur.execute("SELECT count(*) FROM py_patient")
        self.assertEqual(cur.fetchone(), (0,))
        self.fill(cur, 3)
        self.assertEqual(self.conn.get_transaction_status(), psycopg2.extensions.TRANSACTION_STATUS_INTRANS)
        self.conn.commit()
        cur.execute("SAVEPOINT s")
        with self.assertRaises(psycopg2.errors.UniqueViolation):
            self.fill(cur, 1)
        with self.assertRaises(psycopg2.errors.InFailedSqlTransaction):
            cur.execute("SELECT 1")
        cur.execute("ROLLBACK TO SAVEPOINT s")
        cur.execute("SELECT count(*) FROM py_patient")
        self.assertEqual(cur.fetchone(), (3,))
        self.conn.rollback()
        self.conn.autocommit = True
        cur.execute("DELETE FROM py_patient WHERE name = 'p001'")
        self.assertEqual((cur.rowcount, cur.statusmessage), (1, "DELETE 1"))
        self.conn.autocommit = False
        self.conn.set_session(isolation_level="SERIALIZABLE", readonly=True)
        with self.assertRaises(psycopg2.errors.ReadOnlySqlTransaction):
            cur.execute("DELETE FROM py_patient")
        self.conn.rollback()

    def test_errors_have_their_classes(self):
        with self.conn, self.conn.cursor() as cur:
            self.fill(cur, 1)
        for sql, args, error in (
            ("INSERT INTO py_patient (name) VALUES ('p000')", (), psycopg2.errors.UniqueViolation),
            ("INSERT INTO py_patient (name) VALUES (NULL)", (), psycopg2.errors.NotNullViolation),
            ("INSERT INTO py_visit (patient_id) VALUES (999)", (), psycopg2.errors.ForeignKeyViolation),
            ("INSERT INTO py_visit (patient_id, note) SELECT id, '' FROM py_patient", (), psycopg2.errors.CheckViolation),
            ("INSERT INTO py_visit (patient_id, note) VALUES (1, %s)", ("x" * 11,), psycopg2.errors.StringDataRightTruncation),
            ("SELECT * FROM nowhere", (), psycopg2.errors.UndefinedTable),
            ("SELECT nothing FROM py_patient", (), psycopg2.errors.UndefinedColumn),
            ("SELEC 1", (), psycopg2.errors.SyntaxError),
            ("SELECT 1/0", (), psycopg2.errors.DivisionByZero),
            ("SELECT 'x'::int", (), psycopg2.errors.InvalidTextRepresentation),
            ("SELECT nofunction(1)", (), psycopg2.errors.UndefinedFunction),
        ):
            with self.subTest(sql), self.assertRaises(error) as caught, self.conn, self.conn.cursor() as cur:
                cur.execute(sql, args)
            if error is psycopg2.errors.UniqueViolation:
                diag = caught.exception.diag
                self.assertEqual((diag.table_name, diag.constraint_name), ("py_patient", "py_patient_name_key"))
        cur = self.conn.cursor()
        cur.execute("SET statement_timeout = 50")
        with self.assertRaises(psycopg2.errors.QueryCanceled):
            cur.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
        self.conn.rollback()

    def test_for_update_waits(self):
        other = psycopg2.connect("")
        try:
            with self.conn, self.conn.cursor() as cur:
                self.fill(cur, 1)
            cur, second = self.conn.cursor(), other.cursor()
            cur.execute("SELECT score FROM py_patient FOR UPDATE")
            with self.assertRaises(psycopg2.errors.LockNotAvailable):
                second.execute("SELECT score FROM py_patient FOR UPDATE NOWAIT")
            other.rollback()
            self.conn.commit()
            second.execute("SELECT score FROM py_patient FOR UPDATE NOWAIT")
            other.commit()
        finally:
            other.close()

    def test_what_a_connection_says_of_itself(self):
        self.assertEqual(self.conn.encoding, "UTF8")
        self.assertGreaterEqual(self.conn.server_version, 150000)
        with self.conn, self.conn.cursor() as cur:
            cur.execute("SELECT pg_backend_pid(), current_setting('server_version_num')::int, 1 + 1")
            self.assertEqual(cur.fetchone(), (self.conn.get_backend_pid(), self.conn.server_version, 2))
            cur.execute("SET application_name = 'py'; SHOW application_name")
            self.assertEqual(cur.fetchone(), ("py",))


if __name__ == "__main__":
    unittest.main()
