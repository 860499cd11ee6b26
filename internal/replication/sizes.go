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

// add counts the entry at index, which follows the last.
func (m *sizeMarks) add(index uint64, bytes int) {
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

// after returns the bytes that were not cut; up to markBytes too many.
func (m *sizeMarks) after() int64 { return m.total - m.cut }
