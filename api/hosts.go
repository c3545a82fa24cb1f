package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// GuardHosts serves only requests that are addressed to this machine: to a
// loopback address, to localhost, or to one of the names allowed. It is for
// listeners on loopback addresses: a web page from anywhere can have its own name
// point to such an address and then call the host as its own origin (DNS
// rebinding); only the name it uses gives it away.
func GuardHosts(next http.Handler, allowed []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := hostName(r.Host); !isLocal(name) && !slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) }) {
			p := problem(KindForeignHost, "The host listens on this machine only, but the request is for %s; call it as localhost, or start it with --allow-host for that name.", quote(name))
			p.Field, p.Value, p.Limit = "Host", cut(name), "localhost, a loopback address or a name of --allow-host"
			writeProblem(w, r, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostName is a Host header without its port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// isLocal is whether a name can only mean this machine. A request without a
// name, as HTTP/1.0 allows, is not from a browser.
func isLocal(name string) bool {
	if name == "" || strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}
