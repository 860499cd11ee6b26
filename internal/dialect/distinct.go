package dialect

import "strings"

// distinctOn rewrites SELECT DISTINCT ON (keys): the rows of each key are
// numbered in the order of ORDER BY, and the first is kept.
func (t *translator) distinctOn(c *selectCore, b *body, keys []sortText) error {
	partition := make([]string, len(c.distinctOn))
	seen := map[string]bool{}
	for i, x := range c.distinctOn {
		target, err := t.groupTarget(c, x)
		if err != nil {
			return err
		}
		v, err := t.scalar(target)
		if err != nil {
			return err
		}
		if v, err = t.asText(v); err != nil {
			return err
		}
		partition[i], seen[v.sql] = v.sql, true
	}
	order, outer := make([]string, len(keys)), make([]string, len(keys))
	var extra []string
	for i, k := range keys {
		sql := k.sql
		if k.output >= 0 {
			sql = b.items[k.output].sql
		}
		if i < len(partition) && !seen[sql] {
			return t.fail(c.at(), stateColumnRef, "SELECT DISTINCT ON expressions must match initial ORDER BY expressions")
		}
		order[i] = sql + k.direction
		extra = append(extra, sql+" AS pg_sort"+itoa(i+1))
		outer[i] = "pg_sort" + itoa(i+1) + k.direction
	}
	over := "PARTITION BY " + strings.Join(partition, ", ")
	if len(order) > 0 {
		over += " ORDER BY " + strings.Join(order, ", ")
		b.tail = " ORDER BY " + strings.Join(outer, ", ")
	}
	b.extra = append(extra, "row_number() OVER ("+over+") AS pg_first")
	inner := make([]bodyColumn, len(b.cols))
	copy(inner, b.cols)
	b.wrap = func(text string) string {
		names := make([]string, len(inner))
		for i := range inner {
			names[i] = quoteName(inner[i].name)
		}
		return "SELECT " + strings.Join(names, ", ") + " FROM (" + text + ") AS pg_rows WHERE pg_first = 1"
	}
	for i := range b.cols {
		for j := range b.cols[:i] {
			if fold(b.cols[i].name) == fold(b.cols[j].name) {
				return t.fail(c.at(), stateUnsupported, "DISTINCT ON with two result columns of one name is not supported: give them aliases")
			}
		}
	}
	return nil
}
