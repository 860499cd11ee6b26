package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
)

// keyTenant is a tenant's keys.
type keyTenant interface {
	keyStatus(ctx context.Context) (kimberlite.KeyStatus, error)
	RotateKey(ctx context.Context, level kimberlite.KeyLevel) error
}

func keyCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "key",
		Short: "Look at and rotate a tenant's keys",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite key rotate --data ./data --tenant 1 --level dek`,
	}, keyStatusCommand(a), keyRotateCommand(a))
}

// keyStatusDocument describes a tenant's keys as --json prints it.
type keyStatusDocument struct {
	Tenant        uint64        `json:"tenant"`
	KEKGeneration uint32        `json:"kek_generation"`
	DEKGeneration uint32        `json:"dek_generation"`
	DEKs          []dekDocument `json:"deks"`
	PublicKey     string        `json:"public_key"`
}

// dekDocument is one DEK generation.
type dekDocument struct {
	Generation uint32 `json:"generation"`
	Created    string `json:"created"`
}

func keyStatusCommand(a *app) *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the generations of a tenant's keys",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite key status --data ./data --tenant 1`,
		Args: exactly(),
	}
	tenantFlag(c, &tenant)
	return a.verb(c, func(ctx context.Context, _ []string) error {
		return a.onTenant(ctx, tenant, func(_ backend, t tenantHandle) error {
			s, err := t.keyStatus(ctx)
			if err != nil {
				return err
			}
			doc := keyStatusDocument{
				Tenant: t.ID().Uint64(), KEKGeneration: s.KEK.Uint32(), DEKGeneration: s.DEK.Uint32(),
				DEKs: []dekDocument{}, PublicKey: hexText(s.PublicKey),
			}
			rows := []string{line("tenant", t.ID()), line("KEK generation", s.KEK), line("DEK generation", s.DEK)}
			for _, d := range s.DEKs {
				doc.DEKs = append(doc.DEKs, dekDocument{d.Generation.Uint32(), stamp(d.Created)})
				rows = append(rows, line("DEK "+d.Generation.String(), "since "+stamp(d.Created)))
			}
			rows = append(rows, line("public key of heads", doc.PublicKey))
			return a.print(doc, func(w io.Writer) { columns(w, "", rows) })
		})
	})
}

// keyRotatedDocument is a rotation as --json prints it.
type keyRotatedDocument struct {
	Tenant           uint64 `json:"tenant"`
	Level            string `json:"level"`
	GenerationBefore uint32 `json:"generation_before"`
	Generation       uint32 `json:"generation"`
}

// levelMaster is the level that is still to come.
const levelMaster = "master"

func keyRotateCommand(a *app) *cobra.Command {
	var tenant, level string
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new key at a level, without downtime",
		Long: `Make a new key at a level, without downtime. A new DEK seals from the next
record on, and old generations still open old data. A new KEK wraps the DEKs
again, and the old KEK is destroyed. Nothing is re-encrypted.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite key rotate --data ./data --tenant 1 --level dek`,
		Args: exactly(),
	}
	c.Flags().StringVar(&tenant, "tenant", "", "the tenant's id or name (required)")
	c.Flags().StringVar(&level, "level", "", "dek or kek (required)")
	must(c.MarkFlagRequired("level"))
	choices(c, "level", string(kimberlite.LevelDEK), string(kimberlite.LevelKEK))
	return a.verb(c, func(ctx context.Context, _ []string) error {
		switch level {
		case string(kimberlite.LevelDEK), string(kimberlite.LevelKEK):
		case levelMaster:
			return fault.New("key rotate", fault.Unsupported, "rotating the master key is not there yet: the levels are dek and kek")
		default:
			return fault.New("key rotate", fault.Invalid, "level %q: want dek or kek", level)
		}
		return a.onTenant(ctx, tenant, func(_ backend, t tenantHandle) error {
			return a.rotate(ctx, t, kimberlite.KeyLevel(level))
		})
	})
}

func (a *app) rotate(ctx context.Context, t tenantHandle, level kimberlite.KeyLevel) error {
	generation := func() (uint32, error) {
		s, err := t.keyStatus(ctx)
		if level == kimberlite.LevelKEK {
			return s.KEK.Uint32(), err
		}
		return s.DEK.Uint32(), err
	}
	before, err := generation()
	if err != nil {
		return err
	}
	if err := t.RotateKey(ctx, level); err != nil {
		return err
	}
	after, err := generation()
	if err != nil {
		return err
	}
	doc := keyRotatedDocument{t.ID().Uint64(), string(level), before, after}
	return a.print(doc, func(w io.Writer) {
		fmt.Fprintf(w, "tenant %s: %s generation %d is in force, %d was before\n", t.ID(), level, after, before)
	})
}
