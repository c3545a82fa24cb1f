package egress

import (
	"errors"
	"net/netip"
	"testing"
)

func TestPermit(t *testing.T) {
	t.Parallel()
	for kind, ips := range map[kind][]string{
		public: {"1.1.1.1", "52.94.5.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"},
		private: {
			"127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1", "::1", "fd12::1",
			"::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::1",
		},
		never: {
			"169.254.169.254", "169.254.170.2", "169.254.0.1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::", "fe80::1", "fe80::1%eth0",
			"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192",
			"0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1", "64:ff9b:1::1", "2001:db8::1", "2001::1", "::1.2.3.4", "fec0::1", "4000::1",
		},
	} {
		for _, text := range ips {
			ip := netip.MustParseAddr(text)
			if got := kindOf(ip); got != kind {
				t.Errorf("%s is of kind %d, want %d", ip, got, kind)
			}
			for _, listed := range []bool{false, true} {
				err := permit(ip, listed, "--host")
				if allowed := kind == public || kind == private && listed; allowed != (err == nil) || err != nil && !errors.Is(err, ErrRefused) {
					t.Errorf("%s, listed %v: %v", ip, listed, err)
				}
			}
		}
	}
	if permit(netip.Addr{}, true, "") == nil {
		t.Error("no address was permitted")
	}
}

func TestParseHost(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Host{
		"hooks.internal":      {"hooks.internal", ""},
		"Hooks.Internal:8443": {"hooks.internal", "8443"},
		"10.0.0.1":            {"10.0.0.1", ""},
		"10.0.0.1:80":         {"10.0.0.1", "80"},
		"::1":                 {"::1", ""},
		"[::1]":               {"::1", ""},
		"[0::1]:80":           {"::1", "80"},
	} {
		if got, err := ParseHost(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":80", "host:", "host:0", "host:65536", "host:http", "http://host", "host/path", "*.internal", "a b", "user@host"} {
		if got, err := ParseHost(text); err == nil {
			t.Errorf("%q was taken as %+v", text, got)
		}
	}
}

func TestListed(t *testing.T) {
	t.Parallel()
	p := Dialer{Hosts: []Host{{"hooks.internal", "8443"}, {"any.internal", ""}, {"::1", ""}}}
	for addr, want := range map[string]bool{
		"hooks.internal:8443": true, "HOOKS.internal.:8443": true, "hooks.internal:443": false, "hooks.internal.example.com:8443": false,
		"any.internal:1": true, "[0:0::1]:1": true, "x.any.internal:1": false, "nonsense": false,
	} {
		if got := p.listed(addr); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}
