package replication

// sizeMarks knows how many bytes of log stand after an index, to within
// markBytes, in memory that grows by 16 bytes per markBytes of log. The zero
// value is an empty log.
type sizeMarks struct {
	total int64  // bytes of all entries added
	cut   int64  // bytes of the entries that cutAt counted out
	last  uint64 // index of the last entry added
	marks []sizeMark
}

// sizeMark says that the entries up to index hold total bytes.
type sizeMark struct {
	index uint64
	total int64
}

const markBytes = 64 << 10

// reset forgets all.
func (m *sizeMarks) reset() { *m = sizeMarks{} }

// add counts the entry at index, which follows the last or replaces it and all
// between. What is replaced stays counted.
func (m *sizeMarks) add(index uint64, bytes int) {
	for index <= m.last && len(m.marks) > 0 && m.marks[len(m.marks)-1].index >= index {
		m.marks = m.marks[:len(m.marks)-1]
	}
	m.total += int64(bytes)
	m.last = index
	if n := len(m.marks); n == 0 || m.total-m.marks[n-1].total >= markBytes {
		m.marks = append(m.marks, sizeMark{index, m.total})
	}
}

// cutAt forgets the entries up to index.
func (m *sizeMarks) cutAt(index uint64) {
	if index >= m.last {
		m.cut = m.total
		m.marks = m.marks[:0]
		return
	}
	n := 0
	for n < len(m.marks) && m.marks[n].index <= index {
		m.cut = m.marks[n].total
		n++
	}
	m.marks = append(m.marks[:0], m.marks[n:]...)
}

// keeping returns the last index after which there are at least bytes, 0 when
// there are not as many.
func (m *sizeMarks) keeping(bytes int64) uint64 {
	for i := len(m.marks) - 1; i >= 0; i-- {
		if m.total-m.marks[i].total >= bytes {
			return m.marks[i].index
		}
	}
	return 0
}

// after returns the bytes that were not cut; up to markBytes too many.
func (m *sizeMarks) after() int64 { return m.total - m.cut }
