package demo

import (
	"context"

	"kimberlite"
)

// rotateKeys is step 6.
func (d *demo) rotateKeys(ctx context.Context) error {
	h := d.hospitals[0]
	before, err := h.t.KeyStatus()
	if err != nil {
		return err
	}
	hash, err := h.t.TableHash(ctx)
	if err != nil {
		return err
	}
	for _, level := range []kimberlite.KeyLevel{kimberlite.LevelDEK, kimberlite.LevelKEK} {
		if err := h.t.RotateKey(ctx, level); err != nil {
			return err
		}
	}
	after, err := h.t.KeyStatus()
	if err != nil {
		return err
	}
	d.out.say("hospital-a: DEK generation %s → %s, KEK generation %s → %s; the old KEK is destroyed", before.DEK, after.DEK, before.KEK, after.KEK)
	err = d.out.holds(after.DEK == before.DEK.Next() && after.KEK == before.KEK.Next() && len(after.DEKs) == len(before.DEKs)+1,
		"both levels have a new generation, and the old DEK is kept for what it sealed")
	if err != nil {
		return err
	}
	again, err := h.t.TableHash(ctx)
	if err != nil {
		return err
	}
	if err := d.out.holds(hash == again, "every row reads as before"); err != nil {
		return err
	}
	// A read of all events opens records of both generations.
	if _, err := h.t.Append(ctx, "admissions", kimberlite.Message{ContentType: "application/json", Data: []byte(`{"patient":"123","event":"billed"}`)}); err != nil {
		return err
	}
	events, _, err := h.t.Read(ctx, "admissions", kimberlite.NewOffset(0), 0)
	if err != nil {
		return err
	}
	if err := d.out.holds(len(events) == len(admissions)+1, "records sealed before and after are read together: %d events of admissions", len(events)); err != nil {
		return err
	}
	other, err := d.hospitals[1].t.KeyStatus()
	if err != nil {
		return err
	}
	return d.out.holds(other.DEK == before.DEK && other.KEK == before.KEK, "hospital-b's keys were not touched")
}
