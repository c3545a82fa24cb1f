package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/shardmill/shardmill/internal/egress"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
)

// openFetcher makes what functions make their HTTP requests by.
func (h *host) openFetcher() (fetcher, error) {
	dialer := egress.Dialer{Setting: "--function-host"}
	for _, text := range h.config.functionHosts {
		host, err := egress.ParseHost(text)
		if err != nil {
			return fetcher{}, err
		}
		dialer.Hosts = append(dialer.Hosts, host)
	}
	client := egress.NewClient(dialer)
	h.onStop(func(context.Context) error { client.Close(); return nil })
	return fetcher{client}, nil
}

// fetcher makes functions' requests.
type fetcher struct{ client *egress.Client }

// Fetch returns when the answer is there.
func (f fetcher) Fetch(ctx context.Context, r *abi.HTTPRequest, allowed func(string, *url.URL) error) (*abi.HTTPResponse, error) {
	answer, err := f.client.Fetch(ctx, r, allowed)
	if errors.Is(err, egress.ErrRefused) {
		return nil, fmt.Errorf("%w: %w", runtime.ErrFetchDenied, err)
	}
	return answer, err
}

// manifestHosts are the servers that the session's function may call: whoever runs the session is the operator, so that they may be private.
func (s *session) manifestHosts() (hosts []string) {
	for _, grant := range s.manifest.config.HTTP {
		u, err := url.Parse(grant[strings.LastIndexByte(grant, ' ')+1:])
		if err != nil {
			continue // the deploy says what is wrong with it
		}
		if _, err := egress.ParseHost(u.Host); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}
