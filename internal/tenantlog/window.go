package tenantlog

import (
	"crypto/sha256"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// windowBytes is the block in which the verifier reads: all the memory that it
// needs, whatever the size of a record.
const windowBytes = 1 << 20

// window is a fixed block of memory that slides over a file.
type window struct {
	file    disk.File
	name    string
	size    int64
	buf     []byte
	start   int64 // the place of held in the file
	held    []byte
	reached int64 // the end of the last record hashed
}

func (v *window) open(f disk.File, name string, size int64) {
	if want := min(size, windowBytes); int64(len(v.buf)) < want {
		v.buf = make([]byte, want)
	}
	v.file, v.name, v.size = f, name, size
	v.start, v.held, v.reached = 0, nil, 0
}

// at returns n bytes at a place, fewer only at the end of the file. They stay
// valid until the next call.
func (v *window) at(place int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(v.size-place, 0)))
	if place < v.start || place+int64(n) > v.start+int64(len(v.held)) {
		want := min(int64(len(v.buf)), v.size-place)
		v.held = nil
		if err := readFull(v.file, v.buf[:want], place); err != nil {
			return nil, fault.Wrap("verify", fault.Unavailable, err, "cannot read %s at offset %d", v.name, place)
		}
		v.start, v.held = place, v.buf[:want]
	}
	i := place - v.start
	return v.held[i : i+int64(n)], nil
}

// rest returns what is held from a place on.
func (v *window) rest(place int64) []byte { return v.held[place-v.start:] }

// hash returns the hash of the record of size bytes at a place, computed and
// as stored at its end. A record larger than the window passes through it.
func (v *window) hash(place, size int64) (computed, stored record.Hash, err error) {
	v.reached = place + size
	body := size - record.TrailerBytes
	if size <= int64(len(v.buf)) {
		b, err := v.at(place, int(size))
		if err != nil {
			return computed, stored, err
		}
		return sha256.Sum256(b[:body]), record.Hash(b[body:]), nil
	}
	sum := sha256.New()
	for done := int64(0); done < body; {
		b, err := v.at(place+done, int(min(body-done, int64(len(v.buf)))))
		if err != nil {
			return computed, stored, err
		}
		sum.Write(b)
		done += int64(len(b))
	}
	sum.Sum(computed[:0])
	b, err := v.at(place+body, record.TrailerBytes)
	if err != nil {
		return computed, stored, err
	}
	return computed, record.Hash(b), nil
}
