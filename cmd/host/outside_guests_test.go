package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/egress"
	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// outsideCases are bodies of direct invocations, made one after the other of one function, and what they are answered with: all of it, or, behind a
// "~", a part of it. URL and OTHER are servers, of which the function is granted the first.
var outsideCases = [][2]string{
	{"secret token", "s3cret value"},
	{"secret none", "not found: the host has no secret \"none\""},
	{"secret other", "denied: it asked for secret \"other\", which the function's configuration does not grant"},
	{"secret " + strings.Repeat("x", 129), "invalid: the name of a secret has 129 bytes; it must be 1 to 128"},
	{"env REGION", "späte flüge = 1"},
	{"env HOME", ""},
	{"deadline", "ahead"},
	{"log", ""},

	{"get own k", `not found: there is no key "k" in state table own`},
	{"put own k one", "done"},
	{"get own k", "one"},
	{"add own k two", "~conflict: the entry has changed"},
	{"add own k2 zwölf", "done"},
	{"swap own k three", "done"},
	{"get own k", ""},
	{"put own k four", "done"},
	{"stale own k five", "~conflict: "},
	{"get own k", ""},
	{"late own k2", "~conflict: "},
	{"drop own k2", "done"},
	{"delete own k2", "done"},
	{"put shared a 1", "done"},
	{"put shared b 2", "done"},
	{"put shared bb 3", "done"},
	{"delete shared a", "done"},
	{"list shared ", "b=2 bb=3 "},
	{"list shared bb", "bb=3 "},
	{"list shared x", ""},
	{"fail shared b lost", "!as asked"},
	{"get shared b", "2"},
	{"put none k v", "denied: it asked for state table \"none\", which the function's configuration does not grant"},
	{"list none ", "~denied: "},
	{"put own " + strings.Repeat("k", 513) + " v", "invalid: the key has 513 bytes; it must be 1 to 512"},
	{"put own  v", "~invalid: the key has 0 bytes"},
	{"put own large " + strings.Repeat("v", 1<<20+1), "~invalid: value is 1048577 bytes"},
	{"put own large " + strings.Repeat("v", 1<<20), "done"},
	{"sum own ", fmt.Sprint("2 ", 1+5+1<<20)},
	{"fill own n 1100", "done"},
	{"sum own n", "1100 " + fmt.Sprint(10*2+90*3+900*4+100*5+1100*5)},
	{"sweep own n", "done"},
	{"sum own n", "0 0"},

	{"fetch GET URL/here ", "200 here GET outside "},
	{"fetch POST URL/there?a=b some body", "200 here POST outside some body"},
	{"fetch POST URL/empty ", "204 here "},
	{"fetch PUT URL/x y", "~denied: it asked for \"PUT\" of \"http://127.0.0.1:"},
	{"fetch GET OTHER/x ", "~denied: it asked for \"GET\" of \"http://127.0.0.1:"},
	{"fetch GET URL/away ", "~denied: "},
	{"fetch GET ftp://x/ ", "~invalid: the URL is none of http or https"},
	{"fetch GET http://" + strings.Repeat("x", 9000) + " ", "~invalid: "},
	{"fetch POST URL/large " + strings.Repeat("b", 3<<20), fmt.Sprintf("200 here %d", 3<<20)},
	{"slow URL/slow", "~unavailable: no answer from http://127.0.0.1:"},
}

// outsideServer notes the requests that it is sent.
type outsideServer struct {
	*httptest.Server
	requests chan string
}

func newOutsideServer(t *testing.T, away string) *outsideServer {
	s := &outsideServer{requests: make(chan string, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.requests <- fmt.Sprintf("%s %s guest=%s %d", r.Method, r.URL, r.Header.Get("X-Guest"), len(body))
		w.Header().Set("X-Server", "here")
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/away":
			http.Redirect(w, r, away, http.StatusFound)
		case "/large":
			fmt.Fprint(w, len(body))
		case "/slow":
			<-r.Context().Done()
		default:
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("X-Guest"), body)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// secretValues are secrets by name.
type secretValues map[string]string

func (s secretValues) Secret(_ context.Context, name string) ([]byte, error) {
	if value, ok := s[name]; ok {
		return []byte(value), nil
	}
	return nil, runtime.ErrNoSecret
}

// outside is a host with a function that is granted something of everything.
type outside struct {
	*runtime.Runtime
	store         *state.Store
	server, other *outsideServer
}

func openOutside(t *testing.T, language string) *outside {
	t.Helper()
	code := built(t, filepath.Join("testdata", "outside", language))
	o := &outside{other: newOutsideServer(t, "")}
	o.server = newOutsideServer(t, o.other.URL)
	var err error
	if o.store, err = state.Open(state.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	dialer := egress.Dialer{Setting: "--function-host"}
	for _, s := range []*outsideServer{o.server, o.other} {
		host, err := egress.ParseHost(strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		dialer.Hosts = append(dialer.Hosts, host)
	}
	client := egress.NewClient(dialer)
	t.Cleanup(func() {
		client.Close()
		if err := o.store.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Runtime, _ = guestRuntime(t, func(r *runtime.Options) {
		r.Doors = runtime.Doors{Secrets: secretValues{"token": "s3cret value", "other": "not yours"}, State: o.store, HTTP: fetcher{client}}
	})
	config := runtime.Config{
		Timeout: time.Minute, Secrets: []string{"token", "none"}, State: []string{"own", "shared:shared"},
		HTTP: []string{"GET,POST " + o.server.URL}, Env: map[string]string{"REGION": "späte flüge = 1"},
	}
	if _, err := o.DeployProven(t.Context(), "guest", code, config, runtime.Proof{Language: runtime.Language(proofOf(code).Language)}); err != nil {
		t.Fatal(err)
	}
	return o
}

// ask is the answer to a direct invocation; the message, behind a "!", when it fails.
func (o *outside) ask(t *testing.T, body string) string {
	t.Helper()
	body = strings.NewReplacer("URL", o.server.URL, "OTHER", o.other.URL).Replace(body)
	var reply runtime.Reply
	err := o.Invoke(t.Context(), runtime.Call{Function: "guest", Kind: runtime.KindInvoke, Body: []byte(body)}, &reply)
	if failed := (*runtime.FunctionError)(nil); errors.As(err, &failed) {
		return "!" + failed.Message
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(reply.Body)
}

// kept are the entries of a table, as the host has them.
func (o *outside) kept(t *testing.T, table state.Table) (all []string) {
	t.Helper()
	for after, more := "", true; more; {
		var list []state.Entry
		var err error
		if list, more, err = o.store.Begin().List(table, "", after, 0); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			all = append(all, fmt.Sprintf("%s=%.10s", e.Key, e.Value))
			after = e.Key
		}
	}
	return all
}

// Every language reaches everything that the host offers, and is told in the same words what it does not get. The host sees the same of each.
func TestGuestsReachTheOutside(t *testing.T) {
	for _, language := range guestLanguages {
		t.Run(language, func(t *testing.T) {
			o := openOutside(t, language)
			for _, c := range outsideCases {
				got := o.ask(t, c[0])
				if part, ok := strings.CutPrefix(c[1], "~"); got != c[1] && !(ok && strings.HasPrefix(got, part)) {
					t.Errorf("%.60s: got %.300q, want %.300q", c[0], got, c[1])
				}
			}
			o.batches(t)
			o.seen(t)
		})
	}
}

// batches has the function asked for two shards of a mapping.
func (o *outside) batches(t *testing.T) {
	t.Helper()
	for shard := range 2 {
		var w record.Builder
		for _, data := range []string{fmt.Sprint("put own shard ", shard), "get own k"} {
			if err := w.Append(record.Record{Key: []byte("k"), Data: []byte(data)}); err != nil {
				t.Fatal(err)
			}
		}
		var reply runtime.Reply
		call := runtime.Call{Function: "guest", Kind: runtime.KindBatch, Source: runtime.Source{Mapping: "m", Stream: "s", Shard: uint32(shard)}, Records: []record.Run{w.Run()}}
		if err := o.Invoke(t.Context(), call, &reply); err != nil {
			t.Fatal(err)
		}
		if got := reply.Outcomes[0].Reason + " " + reply.Outcomes[1].Reason; got != `done not found: there is no key "k" in state table own` {
			t.Errorf("shard %d: %s", shard, got)
		}
	}
}

// seen is what the host has: state, requests, log.
func (o *outside) seen(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		table state.Table
		want  []string
	}{
		{state.Table{Name: "own", Function: "guest"}, []string{"k=", "large=vvvvvvvvvv"}},
		{state.Table{Name: "own", Function: "guest", Mapping: "m", Shard: 1}, []string{"shard=1"}},
		{state.Table{Name: "shared", Shared: true}, []string{"b=2", "bb=3"}},
	} {
		if got := o.kept(t, c.table); !slices.Equal(got, c.want) {
			t.Errorf("%s has %q, want %q", c.table, got, c.want)
		}
	}
	want := []string{"GET /here guest=outside 0", "POST /there?a=b guest=outside 9", "POST /empty guest=outside 0", "GET /away guest=outside 0",
		fmt.Sprintf("POST /large guest=outside %d", 3<<20), "GET /slow guest= 0"}
	for i, want := range want {
		select {
		case got := <-o.server.requests:
			if got != want {
				t.Errorf("request %d is %q, want %q", i, got, want)
			}
		case <-time.After(time.Minute): // a guest that has given up may be quicker than its request
			t.Errorf("request %d, %q, has not come", i, want)
		}
	}
	if len(o.server.requests)+len(o.other.requests) > 0 {
		t.Errorf("%d more requests, and %d of another server", len(o.server.requests), len(o.other.requests))
	}
	lines, err := o.Logs(t.Context(), "guest", time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	denied, structured := 0, ""
	for l := range lines {
		switch {
		case strings.HasPrefix(l.Message, "denied: "):
			denied++
		case strings.Contains(l.Message, "from outside"):
			structured += l.Level + plainJSON(l.Message)
		}
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(structured, "warn")), &fields); err != nil || denied != 6 {
		t.Errorf("%d lines of what was denied; %s: %v", denied, structured, err)
	}
	if fields["msg"] != "from outside" || fields["language"] != `a "language"` || fields["text"] != "späte Flüge" {
		t.Errorf("logged %q", fields)
	}
}
