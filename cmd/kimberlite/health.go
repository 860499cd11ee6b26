package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
	"kimberlite/internal/server"
)

// healthDocument is health's result as --json prints it.
type healthDocument struct {
	URL   string `json:"url"`
	Ready bool   `json:"ready"`
}

func healthCommand(a *app) *cobra.Command {
	var file, wait string
	c := &cobra.Command{
		Use:   "health",
		Short: "Say whether a server takes requests",
		Long: `Say whether a server takes requests: exit status 0 if it does, 8 if not. Without
--server it asks the operator's port on this machine, at the address that
--config and the environment give, as the health check of a container does.
No credential is needed.`,
		Example: `  kimberlite dev --data ./data --pg-addr 127.0.0.1:0 --rpc-addr 127.0.0.1:0 --operator-addr 127.0.0.1:7449 & dev=$!
  KIMBERLITE_OPERATOR_ADDR=127.0.0.1:7449 kimberlite health --wait 10s
  kill $dev && wait $dev`,
		Args: exactly(),
	}
	c.Flags().StringVar(&file, "config", "", "the configuration's file")
	c.Flags().StringVar(&wait, "wait", "0s", "how long to wait until it does")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		patience, err := quantity.ParseDuration(wait)
		if err != nil {
			return badFlag("--wait", err)
		}
		ctx, cancel := context.WithTimeout(ctx, patience+healthTimeout)
		defer cancel()
		deadline := time.Now().Add(patience)
		var url string
		for {
			var client *http.Client
			// Each time anew: a server that starts may be making its certificate.
			if url, client, err = a.healthTarget(file); err == nil {
				err = askHealth(ctx, client, url)
			}
			if err == nil || time.Now().After(deadline) {
				break
			}
			select {
			case <-ctx.Done():
				return fault.OfContext("health", ctx)
			case <-time.After(healthPause):
			}
		}
		if err != nil {
			return err
		}
		return a.print(healthDocument{url, true}, func(w io.Writer) { fmt.Fprintln(w, "ready") })
	})
}

const (
	healthTimeout = 5 * time.Second
	healthPause   = 50 * time.Millisecond
)

// healthTarget returns the URL to ask and a client that trusts who answers.
func (a *app) healthTarget(file string) (string, *http.Client, error) {
	base := a.global.server
	if base == "" {
		addr, err := server.OperatorAddress(file, os.Environ())
		if err != nil {
			return "", nil, err
		}
		return "http://" + addr + "/readyz", http.DefaultClient, nil
	}
	at, err := parseServer(base)
	if err != nil {
		return "", nil, err
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := a.flagOrEnv(a.global.ca, envCA); ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return "", nil, fault.Wrap("health", fault.Invalid, err, "cannot read the certificates to trust")
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(text) {
			return "", nil, fault.New("health", fault.Invalid, "%s holds no certificate in PEM form", ca)
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DialContext: (&net.Dialer{Timeout: healthTimeout}).DialContext}}
	return at.JoinPath("readyz").String(), client, nil
}

// askHealth asks once.
func askHealth(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fault.Wrap("health", fault.Invalid, err, "the server cannot be asked")
	}
	response, err := client.Do(request)
	if err != nil {
		return fault.Wrap("health", fault.Unavailable, err, "the server does not answer")
	}
	defer response.Body.Close() //nolint:errcheck // it is read
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil || response.StatusCode != http.StatusOK {
		return fault.New("health", fault.Unavailable, "the server takes no requests: %s", printable(strings.TrimSpace(string(text))))
	}
	return nil
}
