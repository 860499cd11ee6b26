package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/projection"
	"kimberlite/internal/tenant"
)

// secretWork puts secrets into everything that a tenant may name or store.
func secretWork(n *node.Node, round int) error {
	ctx := context.Background()
	if err := createTenant(ctx, n, 1, "hospital"); err != nil && !fault.Is(err, fault.AlreadyExists) {
		return err
	}
	h, err := n.Tenants().Tenant(ident.MustTenantID(1))
	if err != nil {
		return err
	}
	// Every round has tables of its own, and drops the ones before.
	name := fmt.Sprintf("%s_%d_%d", secret, os.Getpid(), round+2000)
	if err := secretTables(ctx, h, name); err != nil {
		return err
	}
	if err := secretReads(ctx, h, name); err != nil {
		return err
	}
	if err := secretFailures(ctx, h, name); err != nil {
		return err
	}
	if err := secretStreams(ctx, h, name); err != nil {
		return err
	}
	if err := secretUpkeep(ctx, n, h); err != nil {
		return err
	}
	_, err = h.Exec(ctx, tenant.Request{}, fmt.Sprintf("DROP VIEW v_%s; DROP TABLE t_%s; DROP TABLE c_%s", name, name, name), nil)
	return err
}

// secretTables makes a table with a big index, changes and copies it.
func secretTables(ctx context.Context, h *tenant.Tenant, name string) error {
	script := strings.ReplaceAll(`
		CREATE TABLE t_NAME (id INTEGER PRIMARY KEY, col_NAME TEXT NOT NULL DEFAULT 'default NAME', note TEXT, CHECK (note <> 'check NAME'));
		CREATE INDEX early_NAME ON t_NAME (note);
		CREATE VIEW v_NAME AS SELECT col_NAME AS viewed_NAME FROM t_NAME WHERE note <> 'view NAME';
		CREATE TRIGGER g_NAME AFTER DELETE ON t_NAME BEGIN UPDATE t_NAME SET note = 'trigger NAME' WHERE id = 1; END;`, "NAME", name)
	if _, err := h.Exec(ctx, tenant.Request{}, script, nil); err != nil {
		return err
	}
	rows := make([][]any, 1500)
	for i := range rows {
		rows[i] = []any{strings.Repeat(secret+" ", 20), fmt.Sprintf("%d %s", (i*7919)%1500, secret)}
	}
	_, err := h.ExecBatch(ctx, tenant.Request{IdempotencyKey: "key " + name}, "INSERT INTO t_"+name+" (col_"+name+", note) VALUES (?, ?)", rows)
	if err != nil {
		return err
	}
	for _, sql := range []string{
		"CREATE INDEX big_NAME ON t_NAME (col_NAME, note)",
		"CREATE TABLE c_NAME AS SELECT * FROM t_NAME ORDER BY note DESC",
		"UPDATE t_NAME SET note = note || ' updated SECRET' WHERE id % 3 = 0",
		"DELETE FROM t_NAME WHERE id % 5 = 0",
		"ALTER TABLE c_NAME ADD COLUMN added_NAME TEXT DEFAULT 'SECRET'",
		"INSERT INTO t_NAME (note) VALUES (CAST(x'" + fmt.Sprintf("%x", secret) + "' AS TEXT))",
	} {
		sql = strings.NewReplacer("NAME", name, "SECRET", secret).Replace(sql)
		if _, err := h.Exec(ctx, tenant.Request{}, sql, nil); err != nil {
			return fmt.Errorf("%.40s…: %w", sql, err)
		}
	}
	return nil
}

// secretReads sorts and groups more than a connection's page cache holds.
func secretReads(ctx context.Context, h *tenant.Tenant, name string) error {
	for _, sql := range []string{
		"SELECT col_NAME FROM t_NAME ORDER BY note || col_NAME, random()",
		"SELECT note, count(*), group_concat(col_NAME) FROM t_NAME GROUP BY note || 'x'",
		"SELECT DISTINCT a.note || b.id || col_NAME FROM t_NAME a JOIN (SELECT id FROM c_NAME WHERE id < 4) b",
		"WITH w AS MATERIALIZED (SELECT note || col_NAME AS x FROM t_NAME) SELECT a.x FROM w a, w b WHERE a.x = b.x LIMIT 10",
		"SELECT viewed_NAME FROM v_NAME",
	} {
		if err := each(ctx, h, strings.ReplaceAll(sql, "NAME", name), func(_, _, _ int) {}); err != nil {
			return err
		}
	}
	return nil
}

// secretFailures makes statements with secrets in them fail.
func secretFailures(ctx context.Context, h *tenant.Tenant, name string) error {
	for _, sql := range []string{
		"INSERT INTO t_NAME (note) VALUES ('check NAME')",
		"INSERT INTO t_NAME (id, note) VALUES (1, 'SECRET')",
		"SELECT 'SECRET' FROM nosuch_NAME",
		"SELEC 'SECRET'",
		"INSERT INTO t_NAME (note) SELECT note || 'SECRET' FROM t_NAME; INSERT INTO t_NAME (id) VALUES (1)",
	} {
		sql = strings.NewReplacer("NAME", name, "SECRET", secret).Replace(sql)
		if _, err := h.Exec(ctx, tenant.Request{}, sql, nil); err == nil {
			return fmt.Errorf("%.40s… must fail", sql)
		}
	}
	tx, err := h.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE t_"+name+" SET note = note || ?", []any{secret})
	return errors.Join(err, tx.Rollback())
}

func secretStreams(ctx context.Context, h *tenant.Tenant, name string) error {
	stream := "s_" + name
	if _, err := h.CreateStream(ctx, tenant.Request{}, stream); err != nil {
		return err
	}
	for i := range 3 {
		_, err := h.Append(ctx, tenant.Request{IdempotencyKey: fmt.Sprintf("append %s %d", name, i)}, stream, []projection.Message{
			{ContentType: "text/" + secret, Data: []byte("message " + secret)},
			{Data: bytes.Repeat([]byte(secret), 1000)},
		})
		if err != nil {
			return err
		}
	}
	_, err := h.ReadStream(ctx, stream, ident.NewOffset(0), 0, func(*tenant.StreamEvent) error { return nil })
	return err
}

// secretUpkeep runs what moves data about.
func secretUpkeep(ctx context.Context, n *node.Node, h *tenant.Tenant) error {
	if err := errors.Join(h.RotateDEK(ctx), n.Checkpoint(ctx), h.RotateKEK(ctx), h.Rebuild(ctx)); err != nil {
		return err
	}
	_, err := n.Tenants().CloseTenant(h.ID())
	return err
}
