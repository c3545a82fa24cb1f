package egress

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/shardmill/shardmill/internal/field"
)

// Host is an HTTP host that may have private addresses, as the operator lists it.
type Host struct {
	Name string // a name or an address, as it stands in URLs; without brackets, in lower case
	Port string // "" is every port
}

// ParseHost reads HOST or HOST:PORT. Errors are *field.Error.
func ParseHost(text string) (Host, error) {
	bad := field.Invalid("host", text, "HOST or HOST:PORT, such as hooks.internal:8443")
	name, port := text, ""
	if _, err := netip.ParseAddr(text); err != nil && strings.Contains(text, ":") && !strings.HasSuffix(text, "]") {
		var err error
		if name, port, err = net.SplitHostPort(text); err != nil {
			return Host{}, bad
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return Host{}, bad
		}
	}
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return Host{ip.String(), port}, nil
	}
	if name == "" || strings.ContainsAny(name, "/*@?#[]: ") {
		return Host{}, bad
	}
	return Host{strings.ToLower(name), port}, nil
}

func (h Host) is(name, port string) bool {
	if h.Port != "" && h.Port != port {
		return false
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		name = ip.String()
	}
	return strings.TrimSuffix(strings.ToLower(name), ".") == strings.TrimSuffix(h.Name, ".")
}

// permit is nil when an address may be connected to: a public one always, a private one when its host is listed, and what serves the metadata and
// credentials of cloud machines never. setting is where the operator lists hosts.
func permit(ip netip.Addr, listed bool, setting string) error {
	ip = ip.Unmap()
	switch kindOf(ip) {
	case public:
		return nil
	case private:
		if listed {
			return nil
		}
		return refusal(fmt.Sprintf("%s is no public address, and its host is not listed by the operator (%s)", ip, setting))
	}
	return refusal(ip.String() + " is an address that nothing is sent to")
}

// kind of an address.
type kind int

const (
	public kind = iota
	private
	never
)

// The services of cloud providers that hand out credentials, where their addresses do not fall under another rule: Azure, Alibaba, Oracle; AWS and
// Google over IPv6. The IPv4 addresses of the others are link-local.
var metadata = prefixes("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128")

// Nobody can listen there, or nobody that is addressed by a URL: "this network", multicast, reserved and broadcast, documentation, discard.
var nobody = prefixes("0.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3", "100::/64", "2001:db8::/32", "ff00::/8", "fec0::/10")

// IANA's special-purpose registries (RFC 6890): addresses of this machine and of networks that are not the Internet.
var inner = prefixes("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "::1/128", "fc00::/7")

// Addresses of IPv6 that stand for one of IPv4, by the byte that it begins at: NAT64 (RFC 6052) and 6to4.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// global is all of IPv6 that is the Internet.
var global = netip.MustParsePrefix("2000::/3")

// teredo hides an address of IPv4 behind a bit pattern, and is not in use any more.
var teredo = netip.MustParsePrefix("2001::/32")

func kindOf(ip netip.Addr) kind {
	ip = ip.Unmap().WithZone("")
	for _, e := range embedding {
		if e.prefix.Contains(ip) {
			b := ip.As16()
			return kindOf(netip.AddrFrom4([4]byte(b[e.at:])))
		}
	}
	switch {
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsLinkLocalUnicast(), in(metadata, ip), in(nobody, ip), teredo.Contains(ip):
		return never
	case in(inner, ip):
		return private
	case ip.Is6() && !global.Contains(ip):
		return never
	}
	return public
}

func in(list []netip.Prefix, ip netip.Addr) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}
