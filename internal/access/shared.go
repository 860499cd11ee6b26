package access

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"kimberlite/internal/cluster"
	"kimberlite/internal/credential"
	"kimberlite/internal/directory"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Of a cluster, the operators are the deployment's: their document, of the
// form that OperatorsFile has, stands in the directory and is the same on
// every node. The first of them is made before there is a directory; it waits
// in DATA/cluster for the start of the first node.

// firstOperatorFile is where it waits.
func firstOperatorFile(dir string) string { return filepath.Join(dir, cluster.DirName, OperatorsFile) }

// NewFirstOperator makes a deployment's first operator and returns its secret.
// It is for the data directory of a node that is about to begin a deployment.
func NewFirstOperator(fsys disk.FS, dir, name string, now time.Time, random io.Reader) (secret string, err error) {
	if err := credential.CheckName(name); err != nil {
		return "", err
	}
	empty, err := newDocument(random)
	if err != nil {
		return "", err
	}
	_, key, err := decodeOperators(empty)
	if err != nil {
		return "", err
	}
	secret, records, err := withOperator(nil, name, now, random)
	if err != nil {
		return "", err
	}
	data, err := encodeOperators(key, records)
	if err != nil {
		return "", err
	}
	if err := fsys.MkdirAll(filepath.Join(dir, cluster.DirName), 0o700); err != nil {
		return "", fault.Wrap("operators", fault.Unavailable, err, "cannot make a directory in %s", dir)
	}
	if err := disk.WriteFileDurable(fsys, firstOperatorFile(dir), data, 0o600); err != nil {
		return "", fault.Wrap("operators", fault.Unavailable, err, "cannot write %s", firstOperatorFile(dir))
	}
	return secret, nil
}

// sharedShelf is the directory.
type sharedShelf struct{ dir *directory.Directory }

func (s sharedShelf) read() ([]byte, uint64) { return s.dir.Operators() }

func (s sharedShelf) put(ctx context.Context, generation uint64, document []byte) error {
	_, err := s.dir.Propose(ctx, directory.SetOperators{Generation: generation, Document: document})
	return err
}

func (sharedShelf) name() string { return "the directory's document of operators" }

// shareOperators are those of a deployment.
func shareOperators(dir *directory.Directory, random io.Reader) (*operators, error) {
	// Until the document is there, users that do not exist are answered for
	// with a key of this process.
	data, err := newDocument(random)
	if err != nil {
		return nil, err
	}
	_, key, err := decodeOperators(data)
	if err != nil {
		return nil, err
	}
	o := &operators{shelf: sharedShelf{dir}, key: key}
	_, err = o.refresh()
	return o, err
}

// Follow keeps a cluster's operators as the directory has them until ctx ends:
// it puts the first one there, and ends the sessions of those who are revoked
// on other nodes. On a node of its own it returns at once. It is called once,
// while the node runs.
func (a *Authority) Follow(ctx context.Context) error {
	member := a.c.Node.Cluster()
	if member == nil {
		return nil
	}
	if err := a.putFirstOperator(ctx, member.Directory()); err != nil {
		return err
	}
	for {
		changed := member.Directory().Watch()
		a.operators.look()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// putFirstOperator has the operator that cluster init made stand in the
// directory, unless some stand there already.
func (a *Authority) putFirstOperator(ctx context.Context, dir *directory.Directory) error {
	fsys, path := a.c.Node.FS(), firstOperatorFile(a.c.Node.Dir())
	data, err := readSmall(fsys, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		_, _, err = decodeOperators(data)
	}
	if err != nil {
		return fault.Wrap("operators", fault.Corruption, err, "the first operator cannot be read from %s", path)
	}
	for {
		_, err = dir.Propose(ctx, directory.SetOperators{Document: data})
		if err == nil || fault.Is(err, fault.Conflict) { // there are some: it was there before
			break
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the next start does it
		}
		a.c.Logger.Warn("access: the first operator is not in the directory yet", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
	if err := fsys.Remove(path); err != nil {
		return fault.Wrap("operators", fault.Unavailable, err, "cannot remove %s, which is not needed any more", path)
	}
	return nil
}

// endOperator ends the sessions of an operator that was revoked elsewhere.
func (a *Authority) endOperator(r *credential.Record) {
	key := sessionKey{ident.TenantID{}, r.ID}
	a.sessions.bar(key, ended("the credential was revoked"))
	a.sessions.unbar(key) // the record says so by now
}
