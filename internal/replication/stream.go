package replication

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"

	"kimberlite/internal/fault"
)

// A checkpoint travels between nodes as
//
//	bytes 0…3   "KLcp"
//	byte  4     format, 1
//	uvarint     length of the head, and the head: index, term, members and
//	            joint of the Checkpoint, JSON
//	then for each key, in order: uvarint 1 + its length, the key, uvarint
//	            length of the value, the value
//	byte 0      instead of a key: the end
//	32 bytes    SHA-256 of all before
//
// so that a copy that was cut, or changed on the way, is not taken for whole.
const (
	streamMagic  = "KLcp"
	streamFormat = 1
	// maxStreamPart bounds the head, a key and a value.
	maxStreamPart = 64 << 20
)

// WriteCheckpoint writes c as ReadCheckpoint reads it.
func WriteCheckpoint(w io.Writer, c Checkpoint) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	h := sha256.New()
	head, err := json.Marshal(Checkpoint{Index: c.Index, Term: c.Term, Members: c.Members, Joint: c.Joint})
	if err != nil {
		return fault.Wrap("send checkpoint", fault.Internal, err, "the checkpoint does not encode")
	}
	out := io.MultiWriter(buffered, h)
	part := func(n int, b []byte) error {
		_, err := out.Write(binary.AppendUvarint(nil, uint64(n)))
		if err == nil {
			_, err = out.Write(b)
		}
		return err
	}
	_, err = out.Write(append([]byte(streamMagic), streamFormat))
	err = errors.Join(err, part(len(head), head))
	for i := range c.KVs {
		if err != nil {
			break
		}
		kv := &c.KVs[i]
		if err = part(1+len(kv.Key), kv.Key); err == nil {
			err = part(len(kv.Value), kv.Value)
		}
	}
	if err == nil {
		err = part(0, nil)
	}
	if err == nil {
		_, err = buffered.Write(h.Sum(nil))
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return fault.Wrap("send checkpoint", fault.Unavailable, err, "the other end went away")
	}
	return nil
}

// ReadCheckpoint reads what WriteCheckpoint wrote, and keeps of it nothing
// unless all of it came. Errors: Unavailable when it was cut, Incompatible when
// a newer version wrote it, Corruption.
func ReadCheckpoint(r io.Reader) (Checkpoint, error) {
	const op = "fetch checkpoint"
	in := &streamReader{in: bufio.NewReaderSize(r, 64<<10), hash: sha256.New()}
	c, err := in.checkpoint()
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, new(*fault.Error)):
		return Checkpoint{}, err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Checkpoint{}, fault.Wrap(op, fault.Unavailable, err, "the copy was cut; it is asked for again")
	}
	return Checkpoint{}, fault.Wrap(op, fault.Unavailable, err, "the copy did not come")
}

// streamReader reads a stream and hashes what it has read.
type streamReader struct {
	in   *bufio.Reader
	hash hash.Hash
}

func damagedStream(what string) *fault.Error {
	return fault.New("fetch checkpoint", fault.Corruption, "the copy that another node sent is damaged: %s; it is asked for again", what)
}

func (s *streamReader) checkpoint() (c Checkpoint, err error) {
	begin, err := s.take(len(streamMagic) + 1)
	if err != nil {
		return c, err
	}
	if string(begin[:len(streamMagic)]) != streamMagic {
		return c, damagedStream("it is no checkpoint")
	}
	if v := begin[len(streamMagic)]; v != streamFormat {
		return c, fault.New("fetch checkpoint", fault.Incompatible, "the copy that another node sent has format %d and this program knows %d: run the same version on both", v, streamFormat)
	}
	head, err := s.part()
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(head, &c); err != nil || c.KVs != nil {
		return c, damagedStream("its head does not decode")
	}
	for {
		n, err := s.length()
		if err != nil {
			return c, err
		}
		if n == 0 {
			return c, s.end()
		}
		kv := KV{}
		if kv.Key, err = s.take(n - 1); err == nil {
			kv.Value, err = s.part()
		}
		if err != nil {
			return c, err
		}
		if len(c.KVs) > 0 && bytes.Compare(c.KVs[len(c.KVs)-1].Key, kv.Key) >= 0 {
			return c, damagedStream("its keys are not in order")
		}
		c.KVs = append(c.KVs, kv)
	}
}

// end compares the hash.
func (s *streamReader) end() error {
	want := s.hash.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s.in, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return damagedStream("its hash is another")
	}
	return nil
}

func (s *streamReader) length() (int, error) {
	n, err := binary.ReadUvarint(s)
	if err != nil {
		return 0, err
	}
	if n > maxStreamPart {
		return 0, damagedStream("a part of it is longer than any")
	}
	return int(n), nil
}

func (s *streamReader) part() ([]byte, error) {
	n, err := s.length()
	if err != nil {
		return nil, err
	}
	return s.take(n)
}

// take reads n bytes, and has no more memory ready than came.
func (s *streamReader) take(n int) ([]byte, error) {
	const step = 64 << 10
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		from := len(b)
		b = append(b, make([]byte, min(n-from, step))...)
		if _, err := io.ReadFull(s.in, b[from:]); err != nil {
			return nil, err
		}
	}
	s.hash.Write(b)
	return b, nil
}

// ReadByte implements io.ByteReader, for the lengths.
func (s *streamReader) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.hash.Write([]byte{b})
	}
	return b, err
}
