package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/api"
)

func TestProblemsInThisProgramsWords(t *testing.T) {
	a := &app{endpoint: "http://127.0.0.1:4780"}
	of := func(kind api.Kind, p api.Problem) error {
		p.Type = "urn:shardmill:problem:" + string(kind)
		return fmt.Errorf("put: %w", &p)
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{of(api.KindStreamNotFound, api.Problem{Reason: `There is no stream "x".`, Detail: `There is no stream "x". GET /v1/streams lists them.`}),
			`put: There is no stream "x"; "shardmill stream list" shows those there are`},
		{of(api.KindInvalidField, api.Problem{Detail: "shards is 0; it must be 1 to 1000."}), "put: shards is 0; it must be 1 to 1000"},
		{of(api.KindConflict, api.Problem{Instance: "/v1/streams/s", Reason: "It is busy."}), `put: It is busy; "shardmill stream describe" shows what there is`},
		{of(api.KindConflict, api.Problem{Instance: "/v1/mappings/m", Reason: "Stream cannot be changed; delete the mapping.", Detail: "x"}),
			"put: Stream cannot be changed; delete the mapping"},
		{of(api.KindConflict, api.Problem{Instance: "/v1/state/t/entries/k", Reason: "The entry has changed."}),
			`put: The entry has changed; "shardmill state list TABLE --output json" shows the revisions`},
		{of(api.KindConflict, api.Problem{Instance: "/v1/functions/f", Reason: "It was deleted."}), `put: It was deleted; "shardmill function describe" shows what serves now`},
		{of(api.KindNoSpace, api.Problem{Reason: "No space.", Detail: "No space. Send it again.", Put: &api.PutAnswer{Put: 1234, Failed: 2, UndecidedFrom: 1237}}),
			`put: No space; delete a stream or a function, shorten a retention with "shardmill stream update", or make space on the host's disk, or mend it; then try again` +
				`. 1,234 records are on disk, 2 refused; send the lines from line 1,237 on again ("tail -n +1237" gives them)`},
		{of(api.KindFunctionFailed, api.Problem{Reason: "Function f version 1 failed (trap): unreachable.", Function: &api.FunctionFailure{Name: "f"}}),
			`put: Function f version 1 failed (trap): unreachable; "shardmill function logs f" shows what it wrote`},
		{errors.New("two\n  lines"), "two lines"},
	} {
		if got := a.sentence(test.err); got != test.want {
			t.Errorf("%q\nwant %q", got, test.want)
		}
	}
}

// TestPutThatEndsEarly stops the host while lines come: the user is told what is on disk and where to go on, and that is true.
func TestPutThatEndsEarly(t *testing.T) {
	h := bootHost(t, hostConfig{dataDir: t.TempDir()})
	client := clientAt(t, h.url())
	if _, _, err := client.CreateStream(t.Context(), "s", api.StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	in, lines := io.Pipe()
	var out, errs bytes.Buffer
	c := cli{env: endpoint(h)}.console(&out, &errs)
	c.in = in
	status := make(chan int, 1)
	go func() {
		status <- run(t.Context(), []string{"stream", "put", "s", "--key", "k"}, c)
		in.CloseWithError(io.ErrClosedPipe) // so that the writer below ends
	}()
	if _, err := io.WriteString(lines, strings.Repeat(`{"k":"a"}`+"\n", 500)); err != nil {
		t.Fatal(err)
	}
	put := 0
	for r, err := range client.Records(t.Context(), "s", api.ReadOptions{Follow: true, Limit: 500}) {
		if err != nil || r.PartitionKey != "a" {
			t.Fatalf("%+v, %v", r, err)
		}
		put++
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
	go io.WriteString(lines, `{"k":"a"}`+"\n") // what the client finds out by when it no longer can send
	if got := <-status; got != exitFailure {
		t.Errorf("status %d, want %d", got, exitFailure)
	}
	m := regexp.MustCompile(`^shardmill: .*stopping.*\. 500 records are on disk; send the lines from line 501 on again`).FindString(errs.String())
	if m == "" || put != 500 {
		t.Errorf("%d records were put, and it says %q", put, errs.String())
	}
}
