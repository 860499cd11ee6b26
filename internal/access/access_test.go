package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"kimberlite/internal/clock"
	"kimberlite/internal/credential"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/quota"
	"kimberlite/internal/tenant"
)

var (
	ctx  = context.Background()
	home = netip.MustParseAddr("192.0.2.1")
	one  = ident.MustTenantID(1)
	two  = ident.MustTenantID(2)
)

// rig is an authority over a node with the tenants 1, hospital-a, and 2,
// hospital-b.
type rig struct {
	*Authority
	t     *testing.T
	node  *node.Node
	clock *clock.Manual
	dir   string
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, clock: clock.NewManual(time.Unix(1_800_000_000, 0)), dir: t.TempDir()}
	r.open()
	for id, name := range map[ident.TenantID]string{one: "hospital-a", two: "hospital-b"} {
		region, _ := ident.NewRegion("local")
		if err := r.node.CreateTenant(ctx, tenant.Config{ID: id, Name: name, Region: region}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	n, err := node.Open(ctx, node.Config{Dir: r.dir, Clock: r.clock, ReserveBytes: -1, CheckpointInterval: -1})
	if err == nil {
		r.node = n
		r.Authority, err = New(Config{Node: n, Clock: r.clock, Floor: -1})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) close() {
	if err := r.node.Close(ctx); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) create(id ident.TenantID, name string, role credential.Role) string {
	r.t.Helper()
	secret, _, err := r.Create(ctx, id, name, role, time.Time{})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

// talk is one SCRAM login as a client makes it, with what was exchanged.
type talk struct {
	first, final, reply, last string
	session                   *Session
	err                       error
}

func (r *rig) login(user, secret string) talk {
	r.t.Helper()
	return r.loginBound(user, secret, credential.SCRAM, nil, nil)
}

func (r *rig) loginBound(user, secret, mechanism string, server, client []byte) talk {
	r.t.Helper()
	x, err := r.SCRAM(ctx, user, home, server)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := scram.SHA256.NewClient("", secret, "")
	if err != nil {
		r.t.Fatal(err)
	}
	conversation := c.NewConversation()
	if mechanism == credential.SCRAMPlus {
		conversation = c.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: client})
	}
	var out talk
	out.first, _ = conversation.Step("")
	reply, _, err := x.Step([]byte(out.first), mechanism)
	if err != nil {
		out.err = err
		return out
	}
	out.reply = string(reply)
	out.final, _ = conversation.Step(out.reply)
	last, done, err := x.Step([]byte(out.final), mechanism)
	out.last, out.err, out.session = string(last), err, x.Session()
	if err == nil && (!done || out.session == nil) {
		r.t.Fatal("neither done nor refused")
	}
	if err == nil {
		if _, err := conversation.Step(out.last); err != nil || !conversation.Valid() {
			r.t.Fatalf("the server did not prove itself: %v", err)
		}
	}
	return out
}

// audits returns the audit trail of a tenant as short texts.
func (r *rig) audits(id ident.TenantID) []string {
	r.t.Helper()
	h, err := r.node.Tenant(id)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	_, err = h.Audit(ctx, ident.Offset{}, 0, func(e *tenant.AuditEntry) error {
		all = append(all, fmt.Sprintf("%s %s %s %s %s", e.Action, e.Outcome, e.Principal, e.Object, e.DetailJSON()))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) waitForAudit(id ident.TenantID, part string) string {
	r.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		for _, a := range r.audits(id) {
			if strings.Contains(a, part) {
				return a
			}
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatalf("no entry with %q: %q", part, r.audits(id))
	return ""
}

func TestACredentialLogsInByPasswordAndByToken(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	for _, user := range []string{"app@1", "app@hospital-a"} {
		got := r.login(user, secret)
		if got.err != nil {
			t.Fatal(got.err)
		}
		p := got.session.Principal()
		if p.Tenant != one || p.Name != "app" || p.Role != credential.Owner || p.Operator {
			t.Fatalf("%+v", p)
		}
		got.session.Close()
	}
	s, err := r.Token(ctx, secret, home)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Tenant()
	if err != nil || h.ID() != one {
		t.Fatal(h, err)
	}
	if _, err := s.TenantFor(two); !fault.Is(err, fault.Denied) {
		t.Fatalf("another tenant: %v", err)
	}
	s.Close()
	if _, err := s.Tenant(); !fault.Is(err, fault.Closed) {
		t.Fatalf("a closed session: %v", err)
	}
	if n := r.Sessions(); n != 0 {
		t.Fatalf("%d sessions left", n)
	}
	want := []string{"tenant.create", "credential.create", "login ok app", "login ok app", "login ok app"}
	got := r.audits(one)
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("entry %d is %q, want %s…", i, got[i], want[i])
		}
	}
}

func TestCredentialsSurviveRestartAndRebuild(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Reader)
	gone := r.create(one, "gone", credential.Reader)
	if err := r.Revoke(ctx, one, "gone"); err != nil {
		t.Fatal(err)
	}
	h, _ := r.node.Tenant(one)
	before, err := h.TableHash(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if got := r.login("app@1", secret); got.err != nil {
			t.Fatalf("%s: %v", when, got.err)
		}
		if got := r.login("gone@1", gone); !fault.Is(got.err, fault.Unauthenticated) {
			t.Fatalf("%s: a revoked credential: %v", when, got.err)
		}
	}
	if err := h.Rebuild(ctx); err != nil {
		t.Fatal(err)
	}
	if after, err := h.TableHash(ctx); err != nil || after != before {
		t.Fatalf("the rebuilt tables differ: %v", err)
	}
	check("after a rebuild")
	r.close()
	r.open()
	check("after a restart")
}

// refusals are logins that must fail without saying why.
func (r *rig) refusals(secret, other string) map[string]func() talk {
	expired, _, err := r.Create(ctx, one, "expired", credential.Owner, r.clock.Now().Add(time.Minute))
	if err != nil {
		r.t.Fatal(err)
	}
	revoked := r.create(one, "revoked", credential.Owner)
	if err := r.Revoke(ctx, one, "revoked"); err != nil {
		r.t.Fatal(err)
	}
	r.clock.Advance(time.Hour)
	return map[string]func() talk{
		"no such tenant by id":    func() talk { return r.login("app@3", secret) },
		"no such tenant by name":  func() talk { return r.login("app@hospital-c", secret) },
		"no such principal":       func() talk { return r.login("nobody@1", secret) },
		"wrong secret":            func() talk { return r.login("app@1", secret[:len(secret)-1]+"!") },
		"another tenant's secret": func() talk { return r.login("app@1", other) },
		"spliced tenant":          func() talk { return r.login("app@2", strings.Replace(secret, "kmb_1_", "kmb_2_", 1)) },
		"expired":                 func() talk { return r.login("expired@1", expired) },
		"revoked":                 func() talk { return r.login("revoked@1", revoked) },
		"no tenant":               func() talk { return r.login("app", secret) },
		"empty":                   func() talk { return r.login("", secret) },
		"empty parts":             func() talk { return r.login("@", secret) },
		"two tenants":             func() talk { return r.login("app@1@2", secret) },
		"NUL":                     func() talk { return r.login("app\x00@1", secret) },
		"comma":                   func() talk { return r.login("app,a=b@1", secret) },
		"equals":                  func() talk { return r.login("app=2C@1", secret) },
		"unicode":                 func() talk { return r.login("äpp@1", secret) },
		"SQL":                     func() talk { return r.login("app'--@1", secret) },
		"leading zero":            func() talk { return r.login("app@0x1", secret) },
		"huge id":                 func() talk { return r.login("app@99999999999999999999", secret) },
		"1 MB":                    func() talk { return r.login(strings.Repeat("a", 1<<20)+"@1", secret) },
	}
}

func TestRefusalsDoNotTellWhy(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	other := r.create(two, "app", credential.Owner)
	want := refusal().Error()
	for name, try := range r.refusals(secret, other) {
		r.throttle = credential.NewThrottle(r.c.Throttle)
		got := try()
		if !fault.Is(got.err, fault.Unauthenticated) || got.err.Error() != want || got.session != nil {
			t.Errorf("%s: %v", name, got.err)
		}
		if got.last != "" {
			t.Errorf("%s: the server answered %q to the proof", name, got.last)
		}
		// The server's first message has the same form, and the same salt on
		// the next attempt.
		parts := strings.Split(got.reply, ",")
		if len(parts) != 3 || len(parts[1]) != len("s=")+24 || parts[2] != "i=4096" {
			t.Errorf("%s: first message %q", name, got.reply)
			continue
		}
		if again := strings.Split(try().reply, ","); again[1] != parts[1] {
			t.Errorf("%s: the salt changes between attempts", name)
		}
	}
}

func TestUnknownUsersKeepTheirSaltOverARestart(t *testing.T) {
	r := newRig(t)
	salt := strings.Split(r.login("nobody@1", "x").reply, ",")[1]
	r.close()
	r.open()
	if again := strings.Split(r.login("nobody@1", "x").reply, ",")[1]; again != salt {
		t.Fatal("another salt after a restart tells that there is no such user")
	}
}

func TestForgedTokensAreRefusedAlike(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	other := r.create(two, "app", credential.Owner)
	operator, err := r.CreateOperator(ctx, "root")
	if err != nil {
		t.Fatal(err)
	}
	tail := secret[strings.LastIndex(secret, "_"):]
	want := refusal().Error()
	for name, token := range map[string]string{
		"empty": "", "garbage": "Bearer x", "1 MB": strings.Repeat("k", 1<<20), "NUL": "kmb_1_1_\x00", "cut": secret[:len(secret)-1],
		"longer": secret + "0", "another tenant's id": "kmb_2_1" + tail, "another id": "kmb_1_2" + tail,
		"an operator's id": "kmb_op_1" + tail, "a tenant's id for an operator's": "kmb_1_1" + operator[strings.LastIndex(operator, "_"):],
		"no such tenant": "kmb_7_1" + tail, "leading zero": "kmb_01_1" + tail, "case": strings.ToLower(secret) + "", "id 0": "kmb_1_0" + tail,
		"another tenant's digits": "kmb_1_1" + other[strings.LastIndex(other, "_"):], "space": " " + secret, "newline": secret + "\n",
	} {
		r.throttle = credential.NewThrottle(r.c.Throttle)
		s, err := r.Token(ctx, token, home)
		if s != nil || !fault.Is(err, fault.Unauthenticated) || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s, err := r.Token(ctx, operator, home); err != nil || !s.Principal().Operator {
		t.Fatal(err)
	}
}

func TestReplayedAndTamperedExchangesFail(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	good := r.login("app@1", secret)
	if good.err != nil {
		t.Fatal(good.err)
	}
	begin := func() (*Exchange, string) {
		x, err := r.SCRAM(ctx, "app@1", home, nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, _, err := x.Step([]byte(good.first), credential.SCRAM)
		if err != nil {
			t.Fatal(err)
		}
		return x, string(reply)
	}
	nonce := func(s string) string { return strings.TrimPrefix(strings.Split(s, ",")[0], "r=") }
	for name, final := range map[string]func(reply string) string{
		"an old proof":                func(string) string { return good.final },
		"an old proof, the new nonce": func(reply string) string { return strings.Replace(good.final, nonce(good.reply), nonce(reply), 1) },
		"nothing":                     func(string) string { return "" },
		"no proof":                    func(reply string) string { return "c=biws,r=" + nonce(reply) },
		"an empty proof":              func(reply string) string { return "c=biws,r=" + nonce(reply) + ",p=" },
		"a proof of zeros":            func(reply string) string { return "c=biws,r=" + nonce(reply) + ",p=" + strings.Repeat("A", 43) + "=" },
		"not base64":                  func(reply string) string { return "c=biws,r=" + nonce(reply) + ",p=%%%" },
		"64 KiB": func(reply string) string {
			return "c=biws,r=" + nonce(reply) + ",x=" + strings.Repeat("a", 64<<10) + ",p=AAAA"
		},
		"the first message again": func(string) string { return good.first },
	} {
		x, reply := begin()
		if _, done, err := x.Step([]byte(final(reply)), credential.SCRAM); done || !fault.Is(err, fault.Unauthenticated) || err.Error() != refusal().Error() {
			t.Errorf("%s: %v", name, err)
		}
		if _, done, err := x.Step([]byte(good.final), credential.SCRAM); done || err == nil || x.Session() != nil {
			t.Errorf("%s: the exchange went on", name)
		}
	}
	x, err := r.SCRAM(ctx, "app@1", home, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"", "PLAIN", "SCRAM-SHA-1", credential.SCRAMPlus} {
		if _, _, err := x.Step([]byte(good.first), mechanism); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("mechanism %q: %v", mechanism, err)
		}
	}
}

func TestChannelBindingHoldsTheConnection(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	certificate, middle := []byte(strings.Repeat("a", 32)), []byte(strings.Repeat("b", 32))
	if got := r.loginBound("app@1", secret, credential.SCRAMPlus, certificate, certificate); got.err != nil {
		t.Fatal(got.err)
	}
	if got := r.loginBound("app@1", secret, credential.SCRAMPlus, certificate, middle); !fault.Is(got.err, fault.Unauthenticated) {
		t.Fatalf("a connection through somebody else: %v", got.err)
	}
	if got := r.loginBound("app@1", secret, credential.SCRAM, certificate, nil); got.err != nil {
		t.Fatalf("a client without channel binding: %v", got.err)
	}
	for name, first := range map[string]string{
		"the client was told that there is none": "y,,n=,r=abcdefghijklmnop",
		"binding by the plain mechanism":         "p=tls-server-end-point,,n=,r=abcdefghijklmnop",
		"binding of another type":                "p=tls-unique,,n=,r=abcdefghijklmnop",
	} {
		x, err := r.SCRAM(ctx, "app@1", home, certificate)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.Step([]byte(first), credential.SCRAM); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	x, _ := r.SCRAM(ctx, "app@1", home, certificate)
	if _, _, err := x.Step([]byte("n,,n=,r=abcdefghijklmnop"), credential.SCRAMPlus); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("no binding by the mechanism that has it: %v", err)
	}
}

func TestRevokeEndsEverySessionBeforeItReturns(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Writer)
	keeper := r.create(one, "keeper", credential.Writer)
	kept, err := r.Token(ctx, keeper, home)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu       sync.Mutex
		sessions []*Session
		wg       sync.WaitGroup
		begun    = make(chan struct{})
		once     sync.Once
	)
	for range 16 {
		wg.Go(func() {
			for range 200 {
				s, err := r.Token(ctx, secret, home)
				if err != nil {
					if !fault.Is(err, fault.Unauthenticated) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				sessions = append(sessions, s)
				if len(sessions) > 50 {
					once.Do(func() { close(begun) })
				}
				mu.Unlock()
			}
		})
	}
	<-begun
	if err := r.Revoke(ctx, one, "app"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	before := len(sessions)
	mu.Unlock()
	wg.Wait()
	for i, s := range sessions {
		select {
		case <-s.Done():
		default:
			t.Fatalf("session %d of %d (%d at the time) goes on", i, len(sessions), before)
		}
		if !fault.Is(s.Err(), fault.Unauthenticated) {
			t.Fatal(s.Err())
		}
	}
	if _, err := r.Token(ctx, secret, home); !fault.Is(err, fault.Unauthenticated) {
		t.Fatal("a revoked token still works")
	}
	if err := kept.Err(); err != nil {
		t.Fatalf("another credential's session ended: %v", err)
	}
	if err := r.Revoke(ctx, one, "app"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("revoked twice: %v", err)
	}
	again := r.create(one, "app", credential.Reader)
	if _, err := r.Token(ctx, again, home); err != nil {
		t.Fatalf("a new credential of the name: %v", err)
	}
	if got := r.login("app@1", secret); !fault.Is(got.err, fault.Unauthenticated) {
		t.Fatal("the old secret of a name that is used again works")
	}
}

func TestExpiryEndsSessions(t *testing.T) {
	dir := t.TempDir()
	n, err := node.Open(ctx, node.Config{Dir: dir, ReserveBytes: -1, CheckpointInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Node: n, Floor: -1})
	r := &rig{t: t, Authority: a, node: n}
	t.Cleanup(r.close)
	region, _ := ident.NewRegion("local")
	if err := errors.Join(err, n.Tenants().Create(ctx, tenant.Config{ID: one, Name: "a", Region: region})); err != nil {
		t.Fatal(err)
	}
	secret, _, err := a.Create(ctx, one, "brief", credential.Owner, time.Now().Add(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.Token(ctx, secret, home)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the session outlives its credential")
	}
	if _, err := s.Tenant(); !fault.Is(err, fault.Unauthenticated) {
		t.Fatal(err)
	}
	if _, err := a.Token(ctx, secret, home); !fault.Is(err, fault.Unauthenticated) {
		t.Fatal(err)
	}
	r.waitForAudit(one, "credential.expire ok system brief")
}

func TestGuessesAreSlowedDownAndTheTrailStaysShort(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	wrong := secret[:len(secret)-1] + "!"
	for range 200 {
		r.login("app@1", wrong)
	}
	// Throttled now: even the right secret fails, and says nothing else.
	got := r.login("app@1", secret)
	if !fault.Is(got.err, fault.Unauthenticated) || got.err.Error() != refusal().Error() {
		t.Fatal(got.err)
	}
	if _, err := r.Token(ctx, secret, home); !fault.Is(err, fault.Unauthenticated) {
		t.Fatal("the token is not throttled with it")
	}
	elsewhere := netip.MustParseAddr("198.51.100.7")
	if _, err := r.Token(ctx, secret, elsewhere); err != nil {
		t.Fatalf("from another address: %v", err)
	}
	r.waitForAudit(one, "login refused  app")
	refused := 0
	for _, a := range r.audits(one) {
		if strings.HasPrefix(a, "login refused") {
			refused++
		}
	}
	if refused > 2 {
		t.Fatalf("%d entries for one flood: %q", refused, r.audits(one))
	}
	r.clock.Advance(time.Hour)
	if got := r.login("app@1", secret); got.err != nil {
		t.Fatalf("an hour later: %v", got.err)
	}
}

func TestALoginDoesNotWaitForAnOpenTransaction(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	s, err := r.Token(ctx, secret, home)
	if err != nil {
		t.Fatal(err)
	}
	h, _ := s.Tenant()
	if _, err := h.Exec(ctx, tenant.Request{}, "CREATE TABLE t(x)", nil); err != nil {
		t.Fatal(err)
	}
	tx, err := h.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (1)", nil); err != nil {
		t.Fatal(err)
	}
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for range 3 {
		x, err := r.SCRAM(limit, "app@1", home, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = x
		if got := r.login("app@1", secret); got.err != nil {
			t.Fatal(got.err)
		}
	}
	// Its entries can be read before the transaction ends, and the
	// transaction's own come after them.
	if got := r.audits(one); len(got) != 7 {
		t.Fatalf("%q", got)
	}
	if _, err := tx.Exec(ctx, "CREATE TABLE u(x)", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(ctx, one, "app"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	got := r.audits(one)
	if len(got) != 9 || !strings.HasPrefix(got[7], "credential.revoke") || !strings.HasPrefix(got[8], "schema.change ok app u") {
		t.Fatalf("%q", got)
	}
	h, _ = r.node.Tenant(one)
	before, _ := h.TableHash(ctx)
	if err := h.Rebuild(ctx); err != nil {
		t.Fatal(err)
	}
	if after, err := h.TableHash(ctx); err != nil || before != after {
		t.Fatal("the log does not lead to the same tables", err)
	}
	if again := r.audits(one); fmt.Sprint(again) != fmt.Sprint(got) {
		t.Fatalf("%q after a rebuild", again)
	}
}

func TestAReadTransactionSurvivesLogins(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	got := r.login("app@1", secret)
	h, _ := got.session.Tenant()
	if _, err := h.Exec(ctx, tenant.Request{}, "CREATE TABLE t(x)", nil); err != nil {
		t.Fatal(err)
	}
	tx, _ := h.Begin(ctx)
	if _, err := tx.Query(ctx, "SELECT * FROM t", nil, nil); err != nil {
		t.Fatal(err)
	}
	r.login("app@1", secret)
	if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (1)", nil); err != nil {
		t.Fatalf("a login made a transaction fail: %v", err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestAFullLogStopsNeitherLoginsNorRevocation(t *testing.T) {
	r := newRig(t)
	secret := r.create(one, "app", credential.Owner)
	got := r.login("app@1", secret)
	h, _ := got.session.Tenant()
	if err := r.node.SetTenant(ctx, one, limits(quota.Limits{MaxLogBytes: 1, MaxOpsPerSec: 1, MaxConcurrentOps: 1})); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Exec(ctx, tenant.Request{}, "CREATE TABLE t(x)", nil); !fault.Is(err, fault.QuotaExceeded) {
		t.Fatal(err)
	}
	for range 20 {
		if got := r.login("app@1", secret); got.err != nil {
			t.Fatal(got.err)
		}
	}
	if err := r.Revoke(ctx, one, "app"); err != nil {
		t.Fatal(err)
	}
}

func TestOperatorsManageAndSeeNothing(t *testing.T) {
	r := newRig(t)
	secret, err := r.CreateOperator(ctx, "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateOperator(ctx, "root"); !fault.Is(err, fault.AlreadyExists) {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(r.dir, OperatorsFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	r.close()
	r.open()
	s, err := r.Token(ctx, secret, home)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequireOperator(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tenant(); !fault.Is(err, fault.Denied) {
		t.Fatal(err)
	}
	h, err := s.TenantFor(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.RotateDEK(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Streams(ctx); !fault.Is(err, fault.Denied) {
		t.Fatal(err)
	}
	if _, err := h.Query(ctx, "SELECT * FROM sqlite_schema", nil); !fault.Is(err, fault.Denied) {
		t.Fatal(err)
	}
	made, _, err := r.Create(WithSession(ctx, s), one, "app", credential.Owner, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	r.waitForAudit(one, "credential.create ok root app")
	r.waitForAudit(one, "key.rotate ok root dek")
	mine, _ := r.Token(ctx, made, home)
	if err := mine.RequireOperator(); !fault.Is(err, fault.Denied) {
		t.Fatal(err)
	}
	if err := r.RevokeOperator(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	default:
		t.Fatal("a revoked operator's session goes on")
	}
	if _, err := r.Token(ctx, secret, home); !fault.Is(err, fault.Unauthenticated) {
		t.Fatal(err)
	}
}

func TestADamagedOperatorsFileIsRefused(t *testing.T) {
	r := newRig(t)
	if _, err := r.CreateOperator(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, OperatorsFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		kind fault.Kind
	}{
		"empty":          {"", fault.Corruption},
		"cut":            {string(good[:len(good)/2]), fault.Corruption},
		"unknown field":  {strings.Replace(string(good), `"format"`, `"superuser": true, "format"`, 1), fault.Corruption},
		"newer":          {strings.Replace(string(good), `"format": 1`, `"format": 2`, 1), fault.Incompatible},
		"a role":         {strings.Replace(string(good), `"name"`, `"role": "owner", "name"`, 1), fault.Corruption},
		"trailing bytes": {string(good) + "{}", fault.Corruption},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openOperators(disk.OS{}, r.dir, nil); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
