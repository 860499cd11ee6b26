package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"kimberlite/internal/fault"
)

// openEngine opens the engine, whose panics at bad files count as damage.
func openEngine(dir string, opts *pebble.Options, g *guard) (db *pebble.DB, err error) {
	const op = "open replicated log"
	defer func() {
		if r := recover(); r != nil {
			err = corruptFile(op, dir, g, fmt.Errorf("%v", r))
		}
	}()
	db, err = pebble.Open(dir, opts)
	switch {
	case err == nil:
		return db, nil
	case g.latch.cause() != nil:
		return nil, diskError(op, g.latch.cause(), "the disk under %s refused a write", dir)
	case strings.Contains(err.Error(), "format major version"):
		return nil, fault.Wrap(op, fault.Incompatible, err, "%s was written by another version of Kimberlite; use that one", dir)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT && !pebble.IsCorruptionError(err) {
		return nil, diskError(op, err, "the disk under %s refused a read", dir)
	}
	return nil, corruptFile(op, dir, g, err)
}

// engineOptions returns the engine's settings: small in memory, quiet, one
// compaction at a time, no compression, since what it holds is ciphertext.
func engineOptions(g *guard, logger *slog.Logger, l *latch) *pebble.Options {
	o := &pebble.Options{
		FS:                          g,
		Logger:                      engineLogger{logger, l},
		FormatMajorVersion:          pebble.FormatWALSyncChunks,
		CacheSize:                   blockCacheBytes,
		MaxOpenFiles:                maxOpenTables,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       32,
		LBaseMaxBytes:               64 << 20,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { l.trip(err) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				e := fault.Corrupt("replicated log", i.Path, 0, "a table is damaged; restore the directory from a backup or a replica")
				e.Err = i.Details
				l.trip(e)
			},
		},
	}
	o.TargetFileSizes[0] = 8 << 20
	o.FlushSplitBytes = 0
	for i := range o.Levels {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		o.Levels[i].BlockSize = 32 << 10
	}
	o.Experimental.FileCacheShards = 1
	o.Experimental.ReadSamplingMultiplier = -1
	// The scheduler without its ticker: with one compaction at a time there
	// is no allowance that grows unseen, and an idle store costs no CPU.
	o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	return o
}

// diskError returns the error for a disk that refused: DiskFull or Stopped.
func diskError(op string, err error, format string, args ...any) error {
	var known *fault.Error
	if errors.As(err, &known) && known.Kind == fault.Corruption {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fault.Wrap(op, fault.DiskFull, err, format+": the disk is full; make room and open it again", args...)
	}
	return fault.Wrap(op, fault.Stopped, err, format, args...)
}

// lockError returns the error for a lock that was not granted. The operating
// system's refusal is a bare EAGAIN or EACCES, the engine's own has no errno
// at all; anything else is another failure.
func lockError(op, dir string, err error) error {
	var errno syscall.Errno
	if isPathError(err) || errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES {
		return diskError(op, err, "cannot lock %s", dir)
	}
	return fault.Wrap(op, fault.InUse, err, "%s is in use by another process; stop that one first", dir)
}

// fileInText finds the engine's file names in its messages.
var fileInText = regexp.MustCompile(`\b(\d{6,}\.(?:sst|log|blob)|MANIFEST-\d+|OPTIONS-\d+)\b`)

// corruptFile names the damaged file: the one that the engine names, else the
// one that it read last.
func corruptFile(op, dir string, g *guard, err error) error {
	file := dir
	if name := fileInText.FindString(err.Error()); name != "" {
		file = filepath.Join(dir, name)
	} else if last := g.lastRead.Load(); last != nil {
		file = *last
	}
	e := fault.Corrupt(op, file, 0, "the replicated log does not open; restore its directory from a backup or a replica")
	e.Err = err
	return e
}

// corruptStore is damage that no single file can be blamed for.
func corruptStore(op, dir string, err error, format string, args ...any) error {
	e := fault.Corrupt(op, dir, 0, format, args...)
	e.Err = err
	return e
}

// engineLogger passes the engine's errors on. Fatalf, by the engine's
// contract, ends the process; here it stops the store, and the engine goes on
// without a disk (see guard) until it is closed.
type engineLogger struct {
	logger *slog.Logger
	latch  *latch
}

func (engineLogger) Infof(string, ...any) {}

func (l engineLogger) Errorf(format string, args ...any) {
	l.logger.Warn("replicated log: engine", "message", fmt.Sprintf(format, args...))
}

func (l engineLogger) Fatalf(format string, args ...any) {
	l.latch.trip(fmt.Errorf(format, args...))
}
