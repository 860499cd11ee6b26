package torture

import (
	"context"
	"fmt"
	"slices"

	"kimberlite/internal/ident"
)

// admin checks what the administrator did.
func (c *checker) admin(ctx context.Context) error {
	ops := c.l.writers(adminTenant)[0]
	known := map[uint64]bool{}
	for t := uint64(1); t <= uint64(c.tenants); t++ {
		known[t] = true
		if !c.l.mentioned(setupID(t, setupCreate)) {
			delete(known, t)
		}
		if c.l.acked(setupID(t, setupCreate)) {
			if err := c.administered(t, ops); err != nil {
				return fmt.Errorf("tenant %d: %w", t, err)
			}
		}
	}
	for n, s := range ops {
		o := deriveAdmin(c.seed, c.tenants, n)
		if o.kind != adminCreate {
			continue
		}
		known[o.extra()] = true
		if s.status == acked {
			if err := c.extra(ctx, o); err != nil {
				return err
			}
		}
	}
	for _, st := range c.n.Shard().Tenants() {
		if !known[st.ID.Uint64()] && !c.strangers {
			return fmt.Errorf("tenant %s exists and nobody made it", st.ID)
		}
	}
	return nil
}

func (c *checker) extra(ctx context.Context, o adminOp) error {
	h, err := c.n.Tenants().Tenant(ident.MustTenantID(o.extra()))
	if err != nil {
		return err
	}
	count := -1
	if err := each(ctx, h, "SELECT count(*), 0, 0 FROM t", func(n, _, _ int) { count = n }); err != nil {
		return err
	}
	if count != 1 {
		return fmt.Errorf("tenant %d has %d rows, want 1", o.extra(), count)
	}
	return nil
}

// administered checks one tenant's keys and limits. What was begun may have
// happened or not.
func (c *checker) administered(t uint64, ops []opState) error {
	least, most := map[adminKind]int{}, map[adminKind]int{}
	limits := []int64{0}
	for n, s := range ops {
		o := deriveAdmin(c.seed, c.tenants, n)
		if o.tenant != t || s.status == refused {
			continue
		}
		most[o.kind]++
		if s.status == acked {
			least[o.kind]++
		}
		switch {
		case o.kind == adminLimits && s.status == acked:
			limits = []int64{o.logLimit()}
		case o.kind == adminLimits:
			limits = append(limits, o.logLimit())
		}
	}
	keys, err := c.n.Tenants().KeyStatus(ident.MustTenantID(t))
	if err != nil {
		return err
	}
	st, err := c.n.Shard().Tenant(ident.MustTenantID(t))
	if err != nil {
		return err
	}
	dek, kek := int(keys.DEK.Uint32())-1, int(keys.KEK.Uint32())-1
	switch {
	case dek < least[adminRotateDEK] || dek > most[adminRotateDEK] && !c.strangers:
		return fmt.Errorf("the DEK was rotated %d times, and %d to %d were asked for", dek, least[adminRotateDEK], most[adminRotateDEK])
	case kek < least[adminRotateKEK]:
		return fmt.Errorf("the KEK was rotated %d times, and at least %d were acknowledged", kek, least[adminRotateKEK])
	case !slices.Contains(limits, st.Limits.MaxLogBytes):
		return fmt.Errorf("the log's limit is %d, want one of %v", st.Limits.MaxLogBytes, limits)
	}
	return nil
}
