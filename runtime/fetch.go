package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/sdk/abi"
)

// MaxHTTP is how many HTTP servers one function may be granted.
const MaxHTTP = 32

// HTTP makes requests of functions. Fetch returns when all of the answer has been read, and ends early with ctx; it asks allowed about each
// redirect. Its error is, or wraps, ErrFetchDenied where the address or a redirect is refused. It is called from many goroutines.
type HTTP interface {
	Fetch(ctx context.Context, r *abi.HTTPRequest, allowed func(method string, u *url.URL) error) (*abi.HTTPResponse, error)
}

// ErrFetchDenied is the error of HTTP for an address or a redirect that is refused.
var ErrFetchDenied = errors.New("the request is refused")

const httpForm = "METHODS URL, such as \"POST https://hooks.example.com\" or \"GET,PUT http://10.0.0.7:8080\" (without a path), or a URL alone for GET and HEAD"

// normalizeHTTP brings grants into their one form, METHODS scheme://host:port, sorted.
func normalizeHTTP(list []string) ([]string, error) {
	var out []string
	for _, text := range list {
		grant, ok := parseHTTP(text)
		if !ok {
			return nil, field.Invalid("http", text, httpForm)
		}
		out = append(out, grant)
	}
	if out = sorted(out); len(out) > MaxHTTP {
		return nil, field.Invalid("http", strconv.Itoa(len(out))+" servers", fmt.Sprintf("at most %d", MaxHTTP))
	}
	return out, nil
}

func parseHTTP(text string) (grant string, ok bool) {
	methods, server := "GET,HEAD", text
	if m, s, two := strings.Cut(strings.TrimSpace(text), " "); two {
		methods, server = m, strings.TrimSpace(s)
	}
	u, err := url.Parse(server)
	if err != nil || len(text) > 512 || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return "", false
	}
	origin := originOf(u)
	if origin == "" || strings.ContainsAny(u.Host, "*% ,") {
		return "", false
	}
	list := strings.Split(methods, ",")
	for _, m := range list {
		if m == "" || len(m) > 32 || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || m == "CONNECT" {
			return "", false
		}
	}
	return strings.Join(sorted(list), ",") + " " + origin, true
}

// originOf is scheme://host:port of a URL, in one form; "" when it is no HTTP URL.
func originOf(u *url.URL) string {
	port := u.Port()
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return ""
	case u.Scheme == "https" && port == "":
		port = "443"
	case u.Scheme == "http" && port == "":
		port = "80"
	case u.Scheme != "https" && u.Scheme != "http":
		return ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return ""
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host + ":" + port
}

// mayFetch is nil when the configuration grants a request. The error says what is missing.
func (c *Config) mayFetch(method string, u *url.URL) error {
	origin := originOf(u)
	for _, grant := range c.HTTP {
		methods, server, _ := strings.Cut(grant, " ")
		if server == origin && slices.Contains(strings.Split(methods, ","), method) {
			return nil
		}
	}
	return fmt.Errorf("it asked for %.40q of %.200q", method, origin)
}

func fetchDoors() map[string]door {
	return map[string]door{abi.ImportHTTPFetch: {call: (*visit).fetch, needs: "an HTTP server", granted: func(c *Config) bool { return len(c.HTTP) > 0 }}}
}

// maxRequest bounds an encoded request.
const maxRequest = abi.MaxRequestBody + abi.MaxURLBytes + 2*abi.MaxHeaderBytes

// fetch is the door "http_fetch".
func (v *visit) fetch(ctx context.Context, m api.Memory, args []uint64) int64 {
	view, problem := text32(m, args[0], args[1], maxRequest)
	if problem != "" {
		return v.refuse(abi.StatusInvalid, "the request %s", problem)
	}
	r, err := abi.ParseHTTPRequest(view)
	if err != nil {
		return v.refuse(abi.StatusInvalid, "the request cannot be read: %v", err)
	}
	u, err := url.Parse(r.URL)
	if err != nil || originOf(u) == "" || u.User != nil {
		return v.refuse(abi.StatusInvalid, "the URL is none of http or https, or has a user in it")
	}
	if err := v.config.mayFetch(r.Method, u); err != nil {
		return v.denied("http", err.Error())
	}
	if problem := oddHeader(r.Header); problem != "" {
		return v.refuse(abi.StatusInvalid, "%s", problem)
	}
	q := asked(abi.ImportHTTPFetch, []byte(r.Method), []byte(r.URL), headerPart(r), r.Body)
	return v.ask(ctx, q, func() int64 { return v.request(ctx, r, u) })
}

// oddHeader is what is wrong with a request's header fields, "" being nothing: they never come to be right, and a function that takes them for a server that is
// not there would try for ever.
func oddHeader(header []abi.HTTPHeader) string {
	const token = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" // RFC 9110 §5.6.2
	for _, h := range header {
		if h.Name == "" || strings.Trim(h.Name, token) != "" {
			return fmt.Sprintf("%.40q is no name of a header field", h.Name)
		}
		if strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Sprintf("the header field %.40q has a value with a line break or a control character in it", h.Name)
		}
	}
	return ""
}

// request makes a request that is granted.
func (v *visit) request(ctx context.Context, r *abi.HTTPRequest, u *url.URL) int64 {
	switch {
	case v.trial != nil && !v.trial.sends(r.Method):
		return v.refuse(abi.StatusUnavailable, "no answer from %s: %v", originOf(u), errNoTrial)
	case v.doors.HTTP == nil:
		return v.refuse(abi.StatusUnavailable, "the host makes no requests here")
	}
	answer, err := v.doors.HTTP.Fetch(ctx, r, v.config.mayFetch)
	switch {
	case errors.Is(err, ErrFetchDenied):
		v.log.note(abi.LevelWarn, "denied: "+err.Error())
		if v.metrics != nil {
			v.metrics.denied("http")
		}
		return v.refuse(abi.StatusDenied, "%v", err)
	case err != nil:
		return v.refuse(abi.StatusUnavailable, "no answer from %s: %v", originOf(u), err)
	}
	v.outcome = string('0'+byte(min(answer.Status/100, 9))) + "xx"
	v.result = abi.AppendHTTPResponse(nil, answer)
	return int64(len(v.result))
}
