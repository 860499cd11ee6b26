package projection

// Limits of the cache of prepared statements of a connection.
const (
	maxCachedStatements = 24
	maxCachedText       = 8 << 10
)

// stmtCache keeps a connection's prepared statements by their text. It dies
// with the connection, so that nothing of it outlives an eviction.
type stmtCache struct {
	byText map[string]*prepared
	uses   uint64
}

// take returns the statement of a text unless there is none or it is in use.
func (sc *stmtCache) take(sql string) *prepared {
	p := sc.byText[sql]
	if p == nil || p.busy {
		return nil
	}
	sc.uses++
	p.used = sc.uses
	p.busy = true
	return p
}

// keep puts a statement that is not in use (back) into the cache. It returns
// false when the caller has to close it.
func (sc *stmtCache) keep(p *prepared) bool {
	if q := sc.byText[p.sql]; q != nil {
		return q == p
	}
	if len(p.sql) > maxCachedText || p.info.ddl || p.info.once {
		return false
	}
	if sc.byText == nil {
		sc.byText = map[string]*prepared{}
	}
	if len(sc.byText) >= maxCachedStatements && !sc.evict() {
		return false
	}
	sc.uses++
	p.used = sc.uses
	sc.byText[p.sql] = p
	return true
}

// evict closes the statement that was not used for the longest time.
func (sc *stmtCache) evict() bool {
	var oldest *prepared
	for _, p := range sc.byText {
		if !p.busy && (oldest == nil || p.used < oldest.used) {
			oldest = p
		}
	}
	if oldest == nil {
		return false
	}
	delete(sc.byText, oldest.sql)
	_ = oldest.stmt.Close() // reports the statement's last error, which was dealt with
	return true
}

// clear closes all statements that are not in use and forgets the others.
func (sc *stmtCache) clear() {
	for sql, p := range sc.byText {
		delete(sc.byText, sql)
		if !p.busy {
			_ = p.stmt.Close() // likewise
		}
	}
}
