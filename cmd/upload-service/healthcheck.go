package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const healthTimeout = 3 * time.Second

// healthcheck asks the service at UPLOAD_ADDR for /healthz, and returns an
// error if it does not answer 200 in time.
func healthcheck(ctx context.Context, cfg Config, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	transport := &http.Transport{
		// The dialer takes an unspecified address such as :8000 for this machine.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			network, address := cfg.listenAddr()
			return d.DialContext(ctx, network, address)
		},
		// The certificate is for a public name. Nothing secret is sent.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // see above
		DisableKeepAlives: true,
	}
	url := "http://localhost/healthz" // a name that local mode accepts
	if cfg.TLSCert != "" {
		url = "https://localhost/healthz"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s for its health: %w", cfg.Addr, err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", cfg.Addr, err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", cfg.Addr, res.Status)
	}
	_, err = fmt.Fprintf(out, "%s is healthy\n", cfg.Addr)
	return err
}
