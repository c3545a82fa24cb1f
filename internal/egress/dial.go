package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// ErrRefused: the address may not be connected to.
var ErrRefused = errors.New("not to be connected to")

// refusal is an ErrRefused that says why, and no more.
type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrRefused }

// DialTimeout is how long a connection may take to be made.
const DialTimeout = 10 * time.Second

// Dialer connects to addresses that may be connected to.
type Dialer struct {
	Hosts   []Host // that may have private addresses
	Setting string // where the operator lists them, for errors: "--failure-host"
}

// Dial connects to HOST:PORT. Errors: ErrRefused, those of the network.
func (d *Dialer) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	listed := d.listed(addr)
	dialer := net.Dialer{
		Timeout: DialTimeout,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return permit(at.Addr(), listed, d.Setting)
		},
	}
	return dialer.DialContext(ctx, network, addr)
}

// listed is whether the operator has listed the host of HOST:PORT.
func (d *Dialer) listed(addr string) bool {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	for _, h := range d.Hosts {
		if h.is(name, port) {
			return true
		}
	}
	return false
}

// Check refuses a URL whose host does not resolve, or of which one address may not be connected to.
func (d *Dialer) Check(ctx context.Context, u *url.URL) error {
	listed := d.listed(net.JoinHostPort(u.Hostname(), portOf(u)))
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if err := permit(ip, listed, d.Setting); err != nil {
			return err
		}
	}
	return nil
}

// portOf is the port of an HTTP URL.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
