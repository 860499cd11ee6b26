package tenantlog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"hash/crc32"
	"path/filepath"
	"strings"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

var headFile = filepath.Join(testDir, HeadName)

func verify(t testing.TB, fsys disk.FS, tenant ident.TenantID, e Expect) Report {
	t.Helper()
	r, err := Verify(fsys, testDir, tenant, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// expectations are the ways to verify a whole log that must agree.
func expectations(end Position) map[string]Expect {
	return map[string]Expect{
		"head only":              {},
		"head and key":           {PublicKey: public},
		"checkpoint":             {Position: &end, PublicKey: public},
		"checkpoint without key": {Position: &end},
	}
}

func wantClean(t testing.TB, r Report, records int) {
	t.Helper()
	if len(r.Problems) > 0 || r.Records != uint64(records) || r.Tail != TailClean || r.Err() != nil {
		t.Fatalf("%d records, %s tail, %v", r.Records, r.Tail, r.Problems)
	}
}

// wantProblem checks that the first problem is in a range of a file, and that
// there are at most as many as the damage explains.
func wantProblem(t testing.TB, r Report, file string, from, to int64, most int, what string) {
	t.Helper()
	if len(r.Problems) == 0 {
		t.Fatalf("%s: not found", what)
	}
	p := r.Problems[0]
	if p.File != file || p.Offset < from || p.Offset >= to || len(r.Problems) > most {
		t.Fatalf("%s: want it at %s, %d to %d; got %v", what, file, from, to, r.Problems)
	}
	if !fault.Is(r.Err(), fault.Corruption) || !strings.Contains(r.Err().Error(), file) {
		t.Fatal(r.Err())
	}
}

func TestVerifyFindsASoundLogSound(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 25)
	end := positions[24]
	for name, e := range expectations(end) {
		r := verify(t, mem, tenant1, e)
		wantClean(t, r, 25)
		if r.Bytes != end.TotalBytes || r.LastHash != end.LastHash || r.LastHash != c.last || r.Head == nil || r.Head.Next != end.Next || r.Segments != len(files(t, mem))-1 {
			t.Fatalf("%s: %+v", name, r)
		}
	}
}

func TestVerifyOfNothing(t *testing.T) {
	start := Start(tenant1)
	for _, e := range []Expect{{}, {Position: &start}, {Position: &Position{}}} {
		r := verify(t, disk.NewMem(), tenant1, e)
		wantClean(t, r, 0)
		if r.LastHash != record.GenesisHash(tenant1) {
			t.Fatal(r.LastHash)
		}
	}
	_, _, positions := smallLog(t, tenant1, 3)
	r := verify(t, disk.NewMem(), tenant1, Expect{Position: &positions[2]})
	wantProblem(t, r, segmentPath(testDir, ident.Offset{}), 0, 1, 2, "an empty directory")
	_, err := Verify(disk.NewMem(), testDir, ident.TenantID{}, Expect{}, nil)
	wantKind(t, err, fault.Invalid)
}

// Guarantee G2: any byte of any file.
func TestVerifyNamesEveryFlippedByte(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	end := positions[11]
	all := places(wantRecords(t, mustOpen(t, testOptions(mem, tenant1), end), 0, c.recs))
	all = append(all, place{headFile, 0, record.HeadBytes})
	seen := 0
	for _, p := range all {
		good := readFile(t, mem, p.file)
		for i := p.from; i < p.to; i++ {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			writeFile(t, mem, p.file, bad)
			for name, e := range map[string]Expect{"head": {}, "checkpoint": {Position: &end, PublicKey: public}} {
				r := verify(t, mem, tenant1, e)
				// A damaged last record is also a log cut short.
				wantProblem(t, r, p.file, p.from, p.to, 2, name)
			}
			seen++
		}
		writeFile(t, mem, p.file, good)
	}
	total := 0
	for _, b := range files(t, mem) {
		total += len(b)
	}
	if seen != total {
		t.Fatalf("flipped %d of %d bytes", seen, total)
	}
}

func TestVerifyNamesEveryCutTail(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	end := positions[11]
	raws := wantRecords(t, mustOpen(t, testOptions(mem, tenant1), end), 0, c.recs)
	for file, good := range files(t, mem) {
		if file == headFile {
			continue
		}
		for n := range len(good) {
			writeFile(t, mem, file, good[:n])
			for name, e := range map[string]Expect{"head": {}, "checkpoint": {Position: &end, PublicKey: public}} {
				r := verify(t, mem, tenant1, e)
				from := lastStart(raws, file, int64(n))
				wantProblem(t, r, file, from, int64(n)+1, 3, name)
			}
		}
		writeFile(t, mem, file, good)
	}
}

// lastStart is where the last record starts that a file cut at n bytes holds
// some of, or could.
func lastStart(raws []Raw, file string, n int64) int64 {
	start := int64(0)
	for _, r := range raws {
		if segmentPath(testDir, r.Cursor.Segment) == file && r.Cursor.Byte <= n {
			start = r.Cursor.Byte
		}
	}
	return start
}

// A chain made anew from the middle on links and hashes well; the signed head
// is what tells it from the true one.
func TestVerifyFindsARewrittenHistoryByItsHead(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	end := positions[11]
	forged := disk.NewMem()
	l, f := mustOpen(t, testOptions(forged, tenant1), Start(tenant1)), newChain(t, tenant1)
	for i, rec := range c.recs { // same sizes, other records
		_ = i
		mustAppend(t, l, f.next(len(rec)-record.MinRecordBytes))
	}
	mustSync(t, l)
	writeFile(t, forged, headFile, readFile(t, mem, headFile))
	raws := wantRecords(t, l, 0, f.recs)
	last := raws[11].Cursor
	for how, e := range expectations(end) {
		r := verify(t, forged, tenant1, e)
		wantProblem(t, r, segmentPath(testDir, last.Segment), last.Byte, last.Byte+1, 2, how)
	}
}

func TestVerifyNamesEverythingOfAnotherTenant(t *testing.T) {
	other, _, positions := smallLog(t, tenant2, 12)
	r := verify(t, other, tenant1, Expect{})
	wantProblem(t, r, headFile, record.HeadTenantAt, record.HeadTenantAt+1, 20, "head")
	if r.Records != 0 || r.Head != nil || len(r.Problems) < 1+r.Segments {
		t.Fatalf("%+v", r)
	}
	_ = positions
}

func TestVerifyChecksTheHead(t *testing.T) {
	mem, _, positions := smallLog(t, tenant1, 12)
	end := positions[11]
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	resigned := record.Head{Tenant: tenant1, Next: end.Next, LastHash: end.LastHash, Time: epoch,
		TotalBytes: end.TotalBytes, Segment: end.Segment, SegmentBytes: end.SegmentBytes}
	if err := resigned.Sign(stranger); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		content []byte
		at      int64
		e       Expect
	}{
		"another signer":     {resigned.Encode(), record.HeadPublicKeyAt, Expect{PublicKey: public}},
		"cut":                {readFile(t, mem, headFile)[:100], 0, Expect{}},
		"empty":              {nil, 0, Expect{}},
		"another signer too": {resigned.Encode(), record.HeadPublicKeyAt, Expect{Position: &end, PublicKey: public}},
	} {
		clone := mem.CrashClone(nil)
		writeFile(t, clone, headFile, x.content)
		wantProblem(t, verify(t, clone, tenant1, x.e), headFile, x.at, x.at+1, 1, name)
	}
	for name, change := range map[string]func(p *Position){
		"hash":          func(p *Position) { p.LastHash[3] ^= 1 },
		"total bytes":   func(p *Position) { p.TotalBytes++ },
		"segment bytes": func(p *Position) { p.SegmentBytes-- },
		"segment":       func(p *Position) { p.Segment = ident.NewOffset(1) },
	} {
		clone, p := mem.CrashClone(nil), end
		change(&p)
		signHead(t, clone, tenant1, p)
		last := segmentPath(testDir, end.Segment)
		wantProblem(t, verify(t, clone, tenant1, Expect{}), last, 0, end.SegmentBytes, 1, "head's "+name)
		wantProblem(t, verify(t, mem, tenant1, Expect{Position: &p}), last, 0, end.SegmentBytes, 1, "checkpoint's "+name)
	}
	if err := mem.Remove(headFile); err != nil {
		t.Fatal(err)
	}
	for how, e := range expectations(end) {
		wantProblem(t, verify(t, mem, tenant1, e), headFile, 0, 1, 1, "no head, "+how)
	}
	start := Start(tenant1) // a log that was never checkpointed has no head yet
	wantClean(t, verify(t, mem, tenant1, Expect{Position: &start}), 12)
}

// What lies beyond head and checkpoint is not yet vouched for: whole records
// are fine, and a torn end is no problem.
func TestVerifyOfATornTail(t *testing.T) {
	mem, _, positions := smallLog(t, tenant1, 12)
	for n := 4; n < 12; n += 3 {
		at := positions[n-1]
		clone := mem.CrashClone(nil)
		signHead(t, clone, tenant1, at)
		for _, e := range []Expect{{}, {Position: &at, PublicKey: public}} {
			wantClean(t, verify(t, clone, tenant1, e), 12)
		}
		end := positions[11]
		last := segmentPath(testDir, end.Segment)
		good := readFile(t, clone, last)
		for cut := range len(good) {
			writeFile(t, clone, last, good[:cut])
			for how, e := range map[string]Expect{"head": {}, "checkpoint": {Position: &at, PublicKey: public}} {
				r := verify(t, clone, tenant1, e)
				required := at.Segment == end.Segment && int64(cut) < at.SegmentBytes
				if (len(r.Problems) > 0) != required {
					t.Fatalf("%d records, cut at %d, %s: %v", n, cut, how, r.Problems)
				}
				if !required && (r.Tail == TailTorn) == (r.TornBytes == 0 && cut > 0) {
					t.Fatalf("%d records, cut at %d, %s: %+v", n, cut, how, r)
				}
			}
		}
	}
}

// Damage after the checkpoint is what a power loss leaves, and is cut off by
// the next opening. With nothing but the files, it is damage.
func TestVerifyOfDamageBeyondTheCheckpoint(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 12)
	at := positions[5]
	signHead(t, mem, tenant1, at)
	raws := wantRecords(t, mustOpen(t, testOptions(mem.CrashClone(nil), tenant1), positions[11]), 0, c.recs)
	for _, p := range places(raws[6:]) {
		if p.from == 0 {
			continue
		}
		clone := mem.CrashClone(nil)
		b := readFile(t, clone, p.file)
		b[p.from+40] ^= 1
		writeFile(t, clone, p.file, b)
		r := verify(t, clone, tenant1, Expect{Position: &at})
		if len(r.Problems) > 0 || r.Tail != TailTorn || r.TornFile != p.file || r.TornAt != p.from {
			t.Fatalf("%+v", r)
		}
		wantProblem(t, verify(t, clone, tenant1, Expect{}), p.file, p.from, p.to, 1, "no checkpoint")
	}
}

// A head is written before its checkpoint is saved. After a crash in between
// and another one before the records were synced again, the files may end
// before the head; the checkpoint tells that nothing is missing.
func TestVerifyTrustsTheCheckpointOverANewerHead(t *testing.T) {
	mem, _, positions := smallLog(t, tenant1, 12)
	at := positions[5]
	mustOpen(t, testOptions(mem, tenant1), at) // cuts
	wantClean(t, verify(t, mem, tenant1, Expect{Position: &at}), 6)
	if r := verify(t, mem, tenant1, Expect{}); len(r.Problems) == 0 {
		t.Fatal("without the checkpoint the records are missing")
	}
}

func TestVerifyReportsSeveralProblems(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 25)
	raws := wantRecords(t, mustOpen(t, testOptions(mem, tenant1), positions[24]), 0, c.recs)
	hit := map[uint64]bool{}
	for _, i := range []int{2, 6, 7, 13, 20} {
		file := segmentPath(testDir, raws[i].Cursor.Segment)
		b := readFile(t, mem, file)
		part := []int64{30, record.HeaderBytes + 3, int64(len(raws[i].Bytes)) - 1}[i%3] // header, payload, trailer
		b[raws[i].Cursor.Byte+part] ^= 1
		writeFile(t, mem, file, b)
		hit[uint64(i)] = true
	}
	r := verify(t, mem, tenant1, Expect{})
	if len(r.Problems) != len(hit) || r.Records != 20 {
		t.Fatalf("%d sound records, %v", r.Records, r.Problems)
	}
	for _, p := range r.Problems {
		if !hit[p.Record.Uint64()] {
			t.Errorf("wrong record: %s", p)
		}
	}
}

func TestVerifyListsABoundedNumberOfProblems(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	o := testOptions(mem, tenant1)
	o.SegmentBytes = 1 << 20
	l := mustOpen(t, o, Start(tenant1))
	grow(t, l, c, MaxProblems+50, 0, testRand(1))
	mustSync(t, l)
	signHead(t, mem, tenant1, l.Position())
	first := segmentPath(testDir, ident.Offset{})
	b := readFile(t, mem, first)
	for i := record.SegmentHeaderBytes; i < len(b); i += record.MinRecordBytes {
		b[i+90] ^= 1
	}
	writeFile(t, mem, first, b)
	r := verify(t, mem, tenant1, Expect{})
	if len(r.Problems) != MaxProblems || r.MoreProblems < 50 || r.Records != 0 {
		t.Fatalf("%d problems and %d more", len(r.Problems), r.MoreProblems)
	}
}

func TestVerifyStreamsRecordsLargerThanItsWindow(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	for _, n := range []int{10, 3 << 20, 10, windowBytes - record.MinRecordBytes, windowBytes - record.MinRecordBytes + 1, 10} {
		mustAppend(t, l, c.next(n))
	}
	mustSync(t, l)
	signHead(t, mem, tenant1, l.Position())
	var told []int64
	r, err := Verify(mem, testDir, tenant1, Expect{}, func(n int64) { told = append(told, n) })
	if err != nil {
		t.Fatal(err)
	}
	wantClean(t, r, 6)
	for i := 1; i < len(told); i++ {
		if told[i] < told[i-1] {
			t.Fatal("progress went back", told)
		}
	}
	if len(told) < 4 || told[len(told)-1] != r.Bytes {
		t.Fatal(told, r.Bytes)
	}
	big := segmentPath(testDir, ident.NewOffset(1))
	b := readFile(t, mem, big)
	for _, i := range []int{200, 2 << 20, len(b) - 1} {
		b[i] ^= 1
		writeFile(t, mem, big, b)
		wantProblem(t, verify(t, mem, tenant1, Expect{}), big, record.SegmentHeaderBytes, record.SegmentHeaderBytes+1, 1, "large record")
		b[i] ^= 1
	}
}

// FuzzVerify lets the verifier read arbitrary segment and head files: it must
// end, and never panic.
func FuzzVerify(f *testing.F) {
	mem, _, _ := smallLog(f, tenant1, 6)
	head := readFile(f, mem, headFile)
	first := readFile(f, mem, segmentPath(testDir, ident.Offset{}))
	f.Add(first, head, 0)
	f.Add(first[:300], head, 250)
	f.Add([]byte{}, []byte{}, 0)
	f.Fuzz(func(t *testing.T, segment, head []byte, fix int) {
		if fix >= 0 && fix+record.HeaderBytes <= len(segment) { // let a header pass
			b := segment[fix:]
			copy(b, record.Magic)
			table := crc32.MakeTable(crc32.Castagnoli)
			binary.BigEndian.PutUint32(b[44:], crc32.Update(crc32.Checksum(b[:44], table), table, b[48:80]))
		}
		mem := disk.NewMem()
		if err := mem.MkdirAll(testDir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, mem, segmentPath(testDir, ident.Offset{}), segment)
		writeFile(t, mem, headFile, head)
		start := Start(tenant1)
		for _, e := range []Expect{{}, {Position: &start}} {
			if _, err := Verify(mem, testDir, tenant1, e, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}
