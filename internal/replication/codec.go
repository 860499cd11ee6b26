package replication

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/ident"
)

// Everything that the store holds stands under these keys; all numbers in
// keys are big endian, so that their order is the order of the bytes.
//
//	01                            format version of the store
//	02 | shard 8 | 01             meta: who the group is
//	02 | shard 8 | 02             hard state: term, vote, commit
//	02 | shard 8 | 03             truncated: index, term of the last entry dropped
//	02 | shard 8 | 04             checkpoint: index that the state covers
//	02 | shard 8 | 05 | key       the state machine's key, as it was given
//	02 | shard 8 | 06 | index 8   a log entry
//	02 | shard 8 | 07             members, of a group that has several
//
// A value of kinds 01 to 04 and 07 is a number of 8-byte little-endian words
// and a CRC-32C over key and words.
//
// Meta is a replica's id, and 0 for a group of one for ever, whose replica has
// the number of its node, or 1 for a group with a record of members. Those are
// the index and the term of the checkpoint, or of what a new group begins
// after; 1 when raft is to end an exchange of members by itself, else 0; then,
// for each in the order of their ids, id, node, and the sum of 1 for a voter, 2
// for a voter of the set that is being exchanged, 4 for a learner, 8 for one
// that will be a learner after the exchange. A replica that waits for its first
// checkpoint has none, at index 0.
//
// The log of a group of one begins after its checkpoint; of a group of several
// it can begin before, so that other members need no checkpoint.
//
// A log entry is
//
//	 0      1      2              10          14
//	+------+------+--------------+-----------+--------
//	| form | type | term u64     | crc u32   | data …
//	+------+------+--------------+-----------+--------
//
// little endian; form is 1; type is raft's; the CRC-32C covers the key, the
// ten bytes before it and the data, so an entry that moved to another index
// or shard is found too. The data of an entry that was proposed is
//
//	 0            8            16
//	+------------+------------+-----------
//	| session 8  | number 8   | payload …
//	+------------+------------+-----------
//
// where session is drawn when a group is opened and number counts its
// proposals: together they are the proposer's id, by which the waiting caller
// is found. An entry without data is raft's own, one of another type than 0
// is a change of members.
const (
	// formatVersion is the newest that is known. A store whose groups have one
	// member each is of version 1.
	formatVersion    = 2
	formatStandalone = 1

	prefixVersion byte = 1
	prefixShard   byte = 2

	kindMeta       byte = 1
	kindHardState  byte = 2
	kindTruncated  byte = 3
	kindCheckpoint byte = 4
	kindState      byte = 5
	kindEntry      byte = 6
	kindMembers    byte = 7

	shardKeyLen    = 1 + 8 + 1
	entryKeyLen    = shardKeyLen + 8
	entryHeaderLen = 14
	entryForm      = 1
	proposerLen    = 16
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

var versionKey = []byte{prefixVersion}

// shardKey returns the key of a kind, or the prefix of all keys of a kind.
func shardKey(shard ident.ShardID, kind byte) []byte {
	key := make([]byte, shardKeyLen, entryKeyLen)
	key[0] = prefixShard
	binary.BigEndian.PutUint64(key[1:], shard.Uint64())
	key[9] = kind
	return key
}

// shardEnd returns the first key after all of a kind.
func shardEnd(shard ident.ShardID, kind byte) []byte { return shardKey(shard, kind+1) }

// entryKey returns the key of a log entry.
func entryKey(shard ident.ShardID, index uint64) []byte {
	return binary.BigEndian.AppendUint64(shardKey(shard, kindEntry), index)
}

// putEntryKey writes the key of a log entry into key, entryKeyLen long.
func putEntryKey(key []byte, shard ident.ShardID, index uint64) {
	key[0] = prefixShard
	binary.BigEndian.PutUint64(key[1:], shard.Uint64())
	key[9] = kindEntry
	binary.BigEndian.PutUint64(key[shardKeyLen:], index)
}

// parseShardKey splits a key below prefixShard; ok is false for any other.
func parseShardKey(key []byte) (shard ident.ShardID, kind byte, rest []byte, ok bool) {
	if len(key) < shardKeyLen || key[0] != prefixShard {
		return ident.ShardID{}, 0, nil, false
	}
	return ident.NewShardID(binary.BigEndian.Uint64(key[1:])), key[9], key[shardKeyLen:], true
}

// encodeWords returns the value of a small record.
func encodeWords(key []byte, words ...uint64) []byte {
	v := make([]byte, 0, 8*len(words)+4)
	for _, w := range words {
		v = binary.LittleEndian.AppendUint64(v, w)
	}
	return binary.LittleEndian.AppendUint32(v, checksum(key, v, nil))
}

// decodeWords reads n words.
func decodeWords(key, value []byte, n int) ([]uint64, error) {
	if len(value) != 8*n+4 {
		return nil, fmt.Errorf("%d bytes where %d belong", len(value), 8*n+4)
	}
	body := value[:8*n]
	if binary.LittleEndian.Uint32(value[8*n:]) != checksum(key, body, nil) {
		return nil, fmt.Errorf("wrong checksum")
	}
	words := make([]uint64, n)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(body[8*i:])
	}
	return words, nil
}

func checksum(key, head, data []byte) uint32 {
	sum := crc32.Update(0, crcTable, key)
	sum = crc32.Update(sum, crcTable, head)
	return crc32.Update(sum, crcTable, data)
}

// putEntry writes the value of a log entry into value, which is
// entryHeaderLen longer than its data.
func putEntry(key, value []byte, e *pb.Entry) {
	value[0] = entryForm
	value[1] = byte(e.GetType())
	binary.LittleEndian.PutUint64(value[2:], e.GetTerm())
	copy(value[entryHeaderLen:], e.Data)
	binary.LittleEndian.PutUint32(value[10:], checksum(key, value[:10], e.Data))
}

// decodeEntry reads a log entry; the data is copied.
func decodeEntry(key, value []byte) (*pb.Entry, error) {
	if err := checkEntry(key, value); err != nil {
		return nil, err
	}
	index := binary.BigEndian.Uint64(key[shardKeyLen:])
	term := binary.LittleEndian.Uint64(value[2:])
	e := &pb.Entry{Index: &index, Term: &term, Type: pb.EntryType(value[1]).Enum()}
	if len(value) > entryHeaderLen {
		e.Data = bytes.Clone(value[entryHeaderLen:])
	}
	return e, nil
}

// checkEntry reports what is wrong with a log entry as it is stored.
func checkEntry(key, value []byte) error {
	switch {
	case len(key) != entryKeyLen:
		return fmt.Errorf("a key of %d bytes where %d belong", len(key), entryKeyLen)
	case len(value) < entryHeaderLen:
		return fmt.Errorf("%d bytes where at least %d belong", len(value), entryHeaderLen)
	case binary.LittleEndian.Uint32(value[10:]) != checksum(key, value[:10], value[entryHeaderLen:]):
		return fmt.Errorf("wrong checksum")
	case value[0] != entryForm:
		return fmt.Errorf("unknown form %d", value[0])
	case pb.EntryType(value[1]) == pb.EntryNormal && len(value) > entryHeaderLen && len(value) < entryHeaderLen+proposerLen:
		return fmt.Errorf("data of %d bytes is shorter than a proposer's id", len(value)-entryHeaderLen)
	}
	return nil
}
