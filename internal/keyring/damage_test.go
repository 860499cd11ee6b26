package keyring

import (
	"bytes"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// image returns the first file of a ring that holds tenants 1 to 3.
func image(t testing.TB) []byte {
	t.Helper()
	_, mem := newRing(t, 1, 2, 3)
	b, err := disk.ReadFile(mem, ringPath(1))
	wantNil(t, err)
	return b
}

// withImage returns a filesystem whose ring is one file.
func withImage(t testing.TB, b []byte) *disk.Mem {
	t.Helper()
	mem := newMem(t)
	wantNil(t, mem.MkdirAll(ringDir, 0o700), disk.WriteFileDurable(mem, ringPath(1), b, 0o600))
	return mem
}

func wantCorrupt(t testing.TB, err error, file string, position int64) {
	t.Helper()
	wantKind(t, err, fault.Corruption)
	if fe := asFault(err); fe.File != file || fe.Position != position {
		t.Fatalf("error names %s, %d; want %s, %d", fe.File, fe.Position, file, position)
	}
}

func asFault(err error) *fault.Error { return err.(*fault.Error) }

func TestEveryFlippedByteOfTheFileHurtsOneTenantAtMostAndIsFound(t *testing.T) {
	whole := image(t)
	step := 1
	if testing.Short() {
		step = 7
	}
	for i := 0; i < len(whole); i += step {
		if i >= 5*slotSize && i%slotSize > 2 { // free slots: see the slot's own test
			continue
		}
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		mem := withImage(t, b)
		found, err := Inspect(mem, ringDir)
		if err != nil || len(found) != 1 || found[0].Fault.File != ringPath(1) || found[0].Fault.Position != int64(i/slotSize*slotSize) {
			t.Fatalf("byte %d: inspection found %v, %v", i, found, err)
		}
		r := openRing(t, mem)
		hurt := uint64(i / slotSize) // slot n holds tenant n
		for n := uint64(1); n <= 3; n++ {
			if n != hurt {
				wantKey(t, r, n, 1)
				continue
			}
			_, err := r.Get(tenant(n), gen(1))
			wantCorrupt(t, err, ringPath(1), int64(n)*slotSize)
			if asFault(err).Tenant != tenant(n) || found[0].Tenant != tenant(n) || found[0].Harmless {
				t.Fatalf("byte %d: the damage is not tenant %d's", i, n)
			}
		}
		if (hurt == 0 || hurt > 3) != found[0].Harmless {
			t.Fatalf("byte %d: harmless is %v", i, found[0].Harmless)
		}
		wantNoKey(t, r, 9, 1)
	}
}

func TestDamageWhileOpenIsFound(t *testing.T) {
	r, _ := newRing(t, 1, 2)
	off := offsetOf(t, r, own(1, 1))
	_, err := r.files[0].WriteAt([]byte("damage"), off+60)
	wantNil(t, err)
	_, err = r.Get(tenant(1), gen(1))
	wantCorrupt(t, err, ringPath(1), off)
	wantKey(t, r, 2, 1)
	// Another node's copy mends it.
	wantNil(t, r.Replace(tenant(1), gen(1), blobOf(1, 1)))
	wantKey(t, r, 1, 1)
}

func TestSlotCopiedOverAnothersIsNotTaken(t *testing.T) {
	b := image(t)
	copy(b[2*slotSize:3*slotSize], b[1*slotSize:2*slotSize])  // tenant 1's over tenant 2's
	copy(b[9*slotSize:10*slotSize], b[3*slotSize:4*slotSize]) // tenant 3's over a free one
	r := openRing(t, withImage(t, b))
	wantKey(t, r, 1, 1)
	wantKey(t, r, 3, 1)
	_, err := r.Get(tenant(2), gen(1))
	wantCorrupt(t, err, ringPath(1), 2*slotSize)
	if len(r.Damage()) != 2 {
		t.Errorf("damage %v", r.Damage())
	}
}

func TestForgedSlotOfAnotherTenantDoesNotUnwrap(t *testing.T) {
	// An attacker with the disk makes tenant 2's slot hold tenant 1's blob,
	// with all sums right. The ring cannot know; the master key does.
	p := openMaster(t)
	r, mem := newRing(t)
	env1, kek1, keys1, err := Create(t.Context(), p, tenant(1), epoch)
	wantNil(t, err)
	defer keys1.Zero()
	wantNil(t, r.Put(tenant(1), gen(1), kek1.Blob))
	at := newPlace(1, 2)
	edit(t, mem, ringPath(1), func(b []byte) []byte {
		copy(b[at.offset():], encodeLive(slot{owner: own(2, 1), sequence: 9, wrapped: kek1.Blob}, at)[:])
		return b
	})
	r = openRing(t, mem)
	blob, err := r.Get(tenant(2), gen(1))
	wantNil(t, err)
	_, err = Unwrap(t.Context(), p, tenant(2), env1, blob)
	wantKind(t, err, fault.KeyInvalid)
	again, err := Unwrap(t.Context(), p, tenant(1), env1, blob) // it is tenant 1's still
	wantNil(t, err)
	again.Zero()
}

func TestLostSectorCutFileAndMissingFileNeverLookLikeErasure(t *testing.T) {
	t.Run("zeros", func(t *testing.T) {
		b := image(t)
		clear(b[2*slotSize : 3*slotSize])
		r := openRing(t, withImage(t, b))
		_, err := r.Get(tenant(2), gen(1))
		wantCorrupt(t, err, ringPath(1), 2*slotSize)
		wantKey(t, r, 1, 1)
		wantKey(t, r, 3, 1)
	})
	for _, cut := range []int{0, 100, slotSize, 2*slotSize + 1} {
		r := openRing(t, withImage(t, image(t)[:cut]))
		_, err := r.Get(tenant(2), gen(1))
		wantKind(t, err, fault.Corruption)
		if cut > 2*slotSize {
			wantKey(t, r, 1, 1)
		}
	}
	t.Run("missing", func(t *testing.T) {
		r, mem := newRing(t)
		for n := range uint64(firstSlots + 1) {
			wantNil(t, r.Put(tenant(n+1), gen(1), blobOf(n+1, 1)))
		}
		wantNil(t, mem.Remove(ringPath(1)))
		r = openRing(t, mem)
		wantKey(t, r, firstSlots+1, 1)
		_, err := r.Get(tenant(1), gen(1))
		wantKind(t, err, fault.Corruption, fileName(1))
	})
	t.Run("longer", func(t *testing.T) {
		found, err := Inspect(withImage(t, append(image(t), 1)), ringDir)
		if err != nil || len(found) != 1 || found[0].Fault.Position != sizeOf(1) {
			t.Fatal(found, err)
		}
	})
}

func TestErasureIsNotCompleteWhileADamagedSlotMayHoldTheKey(t *testing.T) {
	b := image(t)
	copy(b[2*slotSize:], "XXXX")           // tenant 2's: its head ...
	copy(b[2*slotSize+tailStart:], "XXXX") // ... and its tail; the blob is whole
	mem := withImage(t, b)
	r := openRing(t, mem)
	wantCorrupt(t, r.DestroyAll(tenant(2)), ringPath(1), 2*slotSize)
	wantCorrupt(t, r.DestroyAll(tenant(1)), ringPath(1), 2*slotSize)
	wantErased(t, mem.CrashClone(nil), 1, 1)
	wantNil(t, r.DestroyUnowned())
	wantErased(t, mem.CrashClone(nil), 2, 1)
	wantNil(t, r.DestroyAll(tenant(2)))
	wantKey(t, r, 3, 1)
	for _, r := range []*Ring{r, openRing(t, mem.CrashClone(nil))} {
		if got := r.Damage(); len(got) != 0 {
			t.Errorf("damage left: %v", got)
		}
	}
}

func TestDestroyUnownedMakesACutOrMissingFileWhole(t *testing.T) {
	for _, spoil := range []func(mem *disk.Mem) error{
		func(mem *disk.Mem) error { return mem.Remove(ringPath(1)) },
		func(mem *disk.Mem) error { return disk.WriteFileDurable(mem, ringPath(1), []byte("x"), 0o600) },
		func(mem *disk.Mem) error { return disk.WriteFileDurable(mem, ringPath(1), make([]byte, 1<<20), 0o600) },
	} {
		r, mem := newRing(t)
		for n := range uint64(firstSlots + 1) {
			wantNil(t, r.Put(tenant(n+1), gen(1), blobOf(n+1, 1)))
		}
		wantNil(t, spoil(mem))
		r = openRing(t, mem)
		wantNil(t, r.DestroyUnowned())
		if found, err := Inspect(mem.CrashClone(nil), ringDir); err != nil || len(found) != 0 {
			t.Fatal(found, err)
		}
		wantNoKey(t, r, 1, 1)
		wantKey(t, r, firstSlots+1, 1)
		wantNil(t, r.Put(tenant(1), gen(1), blobOf(1, 1)))
		wantKey(t, openRing(t, mem.CrashClone(nil)), 1, 1)
	}
}

func TestDamagedSlotOfATenantGoesWithTheTenant(t *testing.T) {
	b := image(t)
	b[2*slotSize+200] ^= 1
	for _, act := range []func(r *Ring) error{
		func(r *Ring) error { return r.DestroyAll(tenant(2)) },
		func(r *Ring) error { return r.Destroy(tenant(2), gen(1)) },
		func(r *Ring) error { // restored from elsewhere, then settled
			if err := r.Put(tenant(2), gen(1), []byte("restored")); err != nil {
				return err
			}
			return r.Reconcile(tenant(2), gen(1))
		},
	} {
		mem := withImage(t, b)
		r := openRing(t, mem)
		if got := r.Tenants(); len(got) != 3 {
			t.Errorf("tenants %v", got)
		}
		wantNil(t, act(r))
		wantErased(t, mem.CrashClone(nil), 2, 1)
		if got := openRing(t, mem.CrashClone(nil)).Damage(); len(got) != 0 {
			t.Errorf("damage left: %v", got)
		}
	}
}

func TestDestroyingAnOldKEKLeavesTheDamagedOneInForceForRescue(t *testing.T) {
	r, mem := newRing(t, 1)
	wantNil(t, r.Put(tenant(1), gen(2), blobOf(1, 2)))
	off := offsetOf(t, r, own(1, 2))
	edit(t, mem, ringPath(1), func(b []byte) []byte { b[off+tailStart] ^= 1; return b })
	r = openRing(t, mem)
	wantNil(t, r.Destroy(tenant(1), gen(1)))
	wantErased(t, mem.CrashClone(nil), 1, 1)
	if !bytes.Contains(ringBytes(t, mem), blobOf(1, 2)) {
		t.Error("the damaged slot was destroyed with another generation")
	}
}

func TestFilesOfAnotherVersionAreRefused(t *testing.T) {
	b := image(t)
	b[9]++
	sum := [slotSize]byte(b)
	finish := sum
	putSum(&finish)
	copy(b, finish[:])
	_, err := Open(Options{FS: withImage(t, b), Dir: ringDir})
	wantKind(t, err, fault.Incompatible)
	_, err = Inspect(withImage(t, b), ringDir)
	wantKind(t, err, fault.Incompatible)
}

func TestForeignFilesInTheDirectoryAreLeftAlone(t *testing.T) {
	mem := withImage(t, image(t))
	for _, name := range []string{"note.txt", "1.keyring", "00000.keyring", "99999.keyring", "00002.keyring.bak"} {
		wantNil(t, disk.WriteFileDurable(mem, ringDir+"/"+name, []byte("x"), 0o600))
	}
	wantNil(t, disk.WriteFileDurable(mem, ringDir+"/00002.keyring.tmp", []byte("x"), 0o600))
	r := openRing(t, mem)
	wantKey(t, r, 1, 1)
	names, err := mem.ReadDir(ringDir)
	wantNil(t, err, disk.WriteFileDurable(mem, ringDir+"/60000.keyring", []byte("x"), 0o600))
	_, err60 := Open(Options{FS: mem, Dir: ringDir})
	wantKind(t, err60, fault.Corruption, "60000.keyring")
	if len(names) != 6 || len(r.Damage()) != 0 {
		t.Errorf("files %v, damage %v", names, r.Damage())
	}
}

func TestOfTwoSlotsOfOneKeyTheLaterCountsAndReconcileOrReplaceDestroysTheOther(t *testing.T) {
	early := slot{owner: own(5, 1), sequence: 90, wrapped: blobOf(5, 90)}
	late := slot{owner: own(5, 1), sequence: 91, wrapped: blobOf(5, 91)}
	for _, order := range [][]slot{{early, late}, {late, early}} {
		for name, settle := range map[string]func(r *Ring) error{
			"reconcile": func(r *Ring) error { return r.Reconcile(tenant(5), gen(1)) },
			"replace":   func(r *Ring) error { return r.Replace(tenant(5), gen(1), late.wrapped) },
		} {
			b := image(t)
			for i, s := range order {
				at := newPlace(1, 10+i)
				copy(b[at.offset():], encodeLive(s, at)[:])
			}
			mem := withImage(t, b)
			r := openRing(t, mem)
			if got, err := r.Get(tenant(5), gen(1)); err != nil || !bytes.Equal(got, late.wrapped) {
				t.Fatalf("%s: %v", name, err)
			}
			wantNil(t, settle(r))
			wantErased(t, mem.CrashClone(nil), 5, 90)
			if got, err := openRing(t, mem.CrashClone(nil)).Get(tenant(5), gen(1)); err != nil || !bytes.Equal(got, late.wrapped) {
				t.Fatalf("%s: %v", name, err)
			}
			wantNil(t, r.Put(tenant(6), gen(1), blobOf(6, 1))) // numbers go on from there
			if r.sequence != 92 {
				t.Errorf("sequence %d", r.sequence)
			}
		}
	}
}

func TestWhatATornDestroyLeftOfAKeyIsGoneAfterOpening(t *testing.T) {
	b := image(t)
	at := newPlace(1, 10)
	remains := encodeFree(at)
	copy(remains[blobStart:], blobOf(5, 1)) // says that it is free, and is not whole
	copy(b[at.offset():], remains[:])
	mem := withImage(t, b)
	openRing(t, mem)
	wantErased(t, mem.CrashClone(nil), 5, 1)
	found, err := Inspect(mem, ringDir)
	if err != nil || len(found) != 0 {
		t.Error(found, err)
	}
}
