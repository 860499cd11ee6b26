package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// credentialTenant is a tenant's credentials.
type credentialTenant interface {
	createCredential(ctx context.Context, name string, role kimberlite.Role, expires time.Time) (secret string, info kimberlite.CredentialInfo, err error)
	credentials(ctx context.Context) ([]kimberlite.CredentialInfo, error)
	revokeCredential(ctx context.Context, name string) error
}

// operatorAdmin is the operators' credentials.
type operatorAdmin interface {
	createOperator(ctx context.Context, name string) (secret string, info kimberlite.CredentialInfo, err error)
	operators(ctx context.Context) ([]kimberlite.CredentialInfo, error)
	revokeOperator(ctx context.Context, name string) error
}

func credentialCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "credential",
		Short: "Create, list and revoke the credentials that clients log in with",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite credential create --data ./data --tenant 1 --name app --role owner
  kimberlite credential list --data ./data --tenant 1`,
	}, credentialCreateCommand(a), credentialListCommand(a), credentialRevokeCommand(a))
}

// credentialDocument is a credential as --json prints it.
type credentialDocument struct {
	Tenant   *uint64 `json:"tenant,omitempty"`
	Operator bool    `json:"operator,omitempty"`
	ID       uint64  `json:"id"`
	Name     string  `json:"name"`
	Role     string  `json:"role"`
	State    string  `json:"state"`
	Created  string  `json:"created"`
	Expires  *string `json:"expires"`
	Revoked  *string `json:"revoked"`
	// Secret is shown when the credential is made and never again.
	Secret string `json:"secret,omitempty"`
}

func documentCredential(c kimberlite.CredentialInfo, secret string) credentialDocument {
	doc := credentialDocument{
		ID: c.ID, Name: c.Name, Role: string(c.Role), State: c.State, Created: stamp(c.Created),
		Expires: stampOrNull(c.Expires), Revoked: stampOrNull(c.Revoked), Secret: secret,
	}
	if c.Tenant.IsZero() {
		doc.Operator, doc.Role = true, "operator"
	} else {
		id := c.Tenant.Uint64()
		doc.Tenant = &id
	}
	return doc
}

func stampOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

// whoseFlags say whether a verb is about a tenant's credentials or the
// operators'.
type whoseFlags struct {
	tenant   string
	operator bool
}

func (f *whoseFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.tenant, "tenant", "", "the tenant's id or name")
	c.Flags().BoolVar(&f.operator, "operator", false, "an operator's credential, which belongs to no tenant")
}

func (f *whoseFlags) check(op string) error {
	if f.operator == (f.tenant != "") {
		return fault.New(op, fault.Invalid, "give either --tenant or --operator")
	}
	return nil
}

func credentialCreateCommand(a *app) *cobra.Command {
	var whose whoseFlags
	var name, role, expires string
	c := &cobra.Command{
		Use:   "create",
		Short: "Create a credential and print its secret, which is shown this once",
		Long: `Create a credential and print its secret, which is shown this once and kept
nowhere. It is the password of the PostgreSQL protocol, for the user NAME@TENANT,
and the bearer token of the RPC door.

An owner may do everything within its tenant; a writer reads and changes rows; a
reader reads; an auditor reads the audit trail and the catalogs, and no row. An
operator manages the deployment and opens no tenant's data.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite credential create --data ./data --tenant hospital-a --name app --role writer --expires 90d
  kimberlite credential create --data ./data --operator --name admin --json`,
		Args: exactly(),
	}
	whose.add(c)
	c.Flags().StringVar(&name, "name", "", "the principal's name, such as app (required)")
	c.Flags().StringVar(&role, "role", "", "owner, writer, reader or auditor (required with --tenant)")
	c.Flags().StringVar(&expires, "expires", "", "how long it can be used, such as 90d; never ends unless given")
	must(c.MarkFlagRequired("name"))
	choices(c, "role", string(kimberlite.RoleOwner), string(kimberlite.RoleWriter), string(kimberlite.RoleReader), string(kimberlite.RoleAuditor))
	return a.verb(c, func(ctx context.Context, _ []string) error {
		if err := whose.check("credential create"); err != nil {
			return err
		}
		if whose.operator {
			if role != "" || expires != "" {
				return fault.New("credential create", fault.Invalid, "an operator's credential has no --role and no --expires")
			}
			return a.createOperator(ctx, name)
		}
		ends, err := expiry(expires)
		if err != nil {
			return err
		}
		if role == "" {
			return fault.New("credential create", fault.Invalid, "--role is missing: owner, writer, reader or auditor")
		}
		return a.onTenant(ctx, whose.tenant, func(_ backend, t tenantHandle) error {
			secret, info, err := t.createCredential(ctx, name, kimberlite.Role(role), ends)
			if err != nil {
				return err
			}
			return a.printSecret(info, secret, fmt.Sprintf("user %s@%s", info.Name, t.ID()))
		})
	})
}

// expiry reads --expires; zero is never.
func expiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	d, err := quantity.ParseDuration(text)
	if err != nil {
		return time.Time{}, badFlag("--expires", err)
	}
	if d == 0 {
		return time.Time{}, fault.New("--expires", fault.Invalid, "a credential that ends at once is of no use: give more than 0, or leave it out for never")
	}
	return time.Now().Add(d), nil
}

func (a *app) createOperator(ctx context.Context, name string) error {
	// The first operator comes before the first start of a server: as the first
	// tenant does, it makes the data directory.
	return a.withBackend(ctx, false, func(b backend) error {
		secret, info, err := b.createOperator(ctx, name)
		if err != nil {
			return err
		}
		return a.printSecret(info, secret, "operator "+info.Name)
	})
}

// printSecret writes a secret alone to stdout, so that a script can take it,
// and what it is to stderr.
func (a *app) printSecret(info kimberlite.CredentialInfo, secret, what string) error {
	return a.print(documentCredential(info, secret), func(w io.Writer) {
		fmt.Fprintln(w, secret)
		fmt.Fprintf(a.stderr, "%s: keep the secret, it is not shown again\n", what)
	})
}

func credentialListCommand(a *app) *cobra.Command {
	var whose whoseFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List credentials, those that have ended included",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite credential list --data ./data --tenant 1`,
		Args: exactly(),
	}
	whose.add(c)
	return a.verb(c, func(ctx context.Context, _ []string) error {
		if err := whose.check("credential list"); err != nil {
			return err
		}
		if whose.operator {
			return a.withBackend(ctx, true, func(b backend) error { return a.printCredentials(b.operators(ctx)) })
		}
		return a.onTenant(ctx, whose.tenant, func(_ backend, t tenantHandle) error { return a.printCredentials(t.credentials(ctx)) })
	})
}

func (a *app) printCredentials(all []kimberlite.CredentialInfo, err error) error {
	if err != nil {
		return err
	}
	docs := make([]credentialDocument, len(all))
	rows := make([]string, len(all))
	for i, c := range all {
		docs[i] = documentCredential(c, "")
		expires := "never"
		if !c.Expires.IsZero() {
			expires = stamp(c.Expires)
		}
		rows[i] = line(c.ID, c.Name, docs[i].Role, c.State, stamp(c.Created), expires)
	}
	return a.print(docs, func(w io.Writer) { columns(w, "ID\tNAME\tROLE\tSTATE\tCREATED\tEXPIRES", rows) })
}

// revokedDocument is a revocation as --json prints it.
type revokedDocument struct {
	Tenant   *uint64 `json:"tenant,omitempty"`
	Operator bool    `json:"operator,omitempty"`
	Name     string  `json:"name"`
	State    string  `json:"state"`
}

func credentialRevokeCommand(a *app) *cobra.Command {
	var whose whoseFlags
	var name string
	c := &cobra.Command{
		Use:   "revoke",
		Short: "End a credential for good, and every session of it",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite credential create --data ./data --tenant 1 --name app --role owner
  kimberlite credential revoke --data ./data --tenant 1 --name app`,
		Args: exactly(),
	}
	whose.add(c)
	c.Flags().StringVar(&name, "name", "", "the principal's name (required)")
	must(c.MarkFlagRequired("name"))
	return a.verb(c, func(ctx context.Context, _ []string) error {
		if err := whose.check("credential revoke"); err != nil {
			return err
		}
		doc := revokedDocument{Operator: whose.operator, Name: name, State: "revoked"}
		done := func(err error) error {
			if err != nil {
				return err
			}
			return a.print(doc, func(w io.Writer) { fmt.Fprintf(w, "%s is revoked\n", printable(name)) })
		}
		if whose.operator {
			return a.withBackend(ctx, true, func(b backend) error { return done(b.revokeOperator(ctx, name)) })
		}
		return a.onTenant(ctx, whose.tenant, func(_ backend, t tenantHandle) error {
			id := t.ID().Uint64()
			doc.Tenant = &id
			return done(t.revokeCredential(ctx, name))
		})
	})
}
