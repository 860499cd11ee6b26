package kimberlite

import (
	"context"

	"kimberlite/internal/disk"
	"kimberlite/internal/node"
	"kimberlite/internal/verify"
)

// VerifyReport is what an offline verification found. See [VerifyPath].
type VerifyReport = verify.Report

// VerifyTenantReport is what was found in one tenant's log.
type VerifyTenantReport = verify.TenantReport

// VerifyProblem is one thing that is wrong, named by file and byte offset.
type VerifyProblem = verify.Problem

// VerifyPath checks a data directory that no process has open, a tenant's
// directory, or its log directory, without any key: every byte of every
// segment is read. progress may be nil. The error says that the check could
// not be made; what is wrong with the data is in the report.
func VerifyPath(ctx context.Context, path string, progress func(bytesRead int64)) (*VerifyReport, error) {
	if node.IsDataDir(path) {
		release, err := node.LockDir(path)
		if err != nil {
			return nil, err
		}
		defer release() //nolint:errcheck // the lock ends with the process at the latest
	}
	return verify.Path(ctx, disk.OS{}, path, progress)
}

// Verify checks the tenant's chain on disk while the database is in use, up
// to the last write acknowledged before the call.
func (t *Tenant) Verify(ctx context.Context) (*VerifyTenantReport, error) {
	if err := t.db.node.Checkpoint(ctx); err != nil {
		return nil, err
	}
	holder, err := t.db.node.Holder(t.ID())
	if err != nil {
		return nil, err
	}
	return verify.Running(ctx, holder, t.ID())
}
