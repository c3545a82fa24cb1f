package destination

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/shardmill/shardmill/internal/egress"
)

const (
	maxIdle      = 16 // idle connections kept per host
	maxConns     = 32 // connections to one host
	maxRedirects = 3
	maxReason    = 256      // bytes of an answer that an error repeats
	maxDrain     = 64 << 10 // bytes of an answer that are read to use the connection again
)

// poster posts documents.
type poster struct {
	client    *http.Client
	transport *http.Transport
	dialer    egress.Dialer
}

func newPoster(hosts []egress.Host) *poster {
	p := &poster{dialer: egress.Dialer{Hosts: hosts, Setting: "--failure-host"}}
	p.transport = &http.Transport{
		DialContext:         p.dial, // no proxy: it would connect where we cannot look
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: egress.DialTimeout,
		MaxIdleConnsPerHost: maxIdle,
		MaxConnsPerHost:     maxConns,
		IdleConnTimeout:     time.Minute,
	}
	p.client = &http.Client{Transport: p.transport, CheckRedirect: follow}
	return p
}

func (p *poster) close() { p.transport.CloseIdleConnections() }

// follow lets a POST be sent again to the same server. A redirect that would make it a GET is the answer: nothing would be stored.
func follow(next *http.Request, via []*http.Request) error {
	first := via[0]
	if next.Method != http.MethodPost || next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

// post returns nil when the server has answered 2xx.
func (p *poster) post(ctx context.Context, u *url.URL, id string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Idempotency-Key", id)
	req.Header.Set("User-Agent", "shardmill")
	resp, err := p.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 == 2 {
		if resp.ContentLength <= maxDrain && resp.ContentLength >= 0 { // it is stored, whatever the rest says
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		return nil
	}
	return byStatus(resp.StatusCode, refusal(resp))
}

// withoutURL leaves out the URL, in which there may be a token.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// refusal is an answer that is not 2xx, with the beginning of what it says.
func refusal(resp *http.Response) error {
	if location, err := resp.Location(); err == nil {
		return fmt.Errorf("answered %s to %s", resp.Status, (&target{url: location}).shown())
	}
	text := make([]byte, maxReason)
	n, _ := io.ReadFull(resp.Body, text)
	said := strings.ToValidUTF8(strings.TrimSpace(string(text[:n])), "")
	if said == "" {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return fmt.Errorf("answered %s: %q", resp.Status, said)
}

// dial connects to addresses that may be connected to.
func (p *poster) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := p.dialer.Dial(ctx, network, addr)
	return conn, refusedLasts(err)
}

// check refuses a host that does not resolve, or of which one address may not be connected to.
func (p *poster) check(ctx context.Context, u *url.URL) error {
	return refusedLasts(p.dialer.Check(ctx, u))
}

// refusedLasts tells an address that is refused, which lasts, from what may pass.
func refusedLasts(err error) error {
	if errors.Is(err, egress.ErrRefused) {
		return Misconfigured(err)
	}
	return err
}
