package replication

import (
	"fmt"
	"log/slog"
)

// raftLogger passes raft's warnings and errors on. Panic and Fatal are raft's
// assertions; both panic, and the group's loop turns that into a stop.
type raftLogger struct{ logger *slog.Logger }

// raftPanic is an assertion of raft's that failed.
type raftPanic string

func (l raftLogger) Debug(...any)          {}
func (l raftLogger) Debugf(string, ...any) {}
func (l raftLogger) Info(...any)           {}
func (l raftLogger) Infof(string, ...any)  {}

func (l raftLogger) Warning(v ...any) {
	l.logger.Warn("replicated log: raft", "message", fmt.Sprint(v...))
}

func (l raftLogger) Warningf(format string, v ...any) { l.Warning(fmt.Sprintf(format, v...)) }

func (l raftLogger) Error(v ...any) {
	l.logger.Error("replicated log: raft", "message", fmt.Sprint(v...))
}

func (l raftLogger) Errorf(format string, v ...any) { l.Error(fmt.Sprintf(format, v...)) }
func (l raftLogger) Fatal(v ...any)                 { l.Panic(v...) }
func (l raftLogger) Fatalf(format string, v ...any) { l.Panicf(format, v...) }
func (l raftLogger) Panic(v ...any)                 { panic(raftPanic(fmt.Sprint(v...))) }
func (l raftLogger) Panicf(format string, v ...any) { panic(raftPanic(fmt.Sprintf(format, v...))) }
