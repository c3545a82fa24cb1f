package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// checkRecordLine writes a record as a line and reads it back.
func checkRecordLine(t *testing.T, key, data []byte) {
	t.Helper()
	var s scanner
	line := appendRecord(nil, &s, "shardId-000000000001", &record.Record{Sequence: 7, Arrival: 1_700_000_000_123_456, Key: key, Data: data}, -1)
	if bytes.ContainsAny(line, "\n\r") {
		t.Fatalf("%q is not one line", line)
	}
	var r Record
	if err := json.Unmarshal(line, &r, json.RejectUnknownMembers(true)); err != nil {
		// JSON with repeated member names or lone surrogates is stored as it came,
		// and this decoder is stricter than RFC 8259.
		if !bytes.Contains(line, []byte(`"json":`)) {
			t.Fatalf("%q: %v", line, err)
		}
		return
	}
	want := data
	if r.JSON != nil {
		want = bytes.Map(func(c rune) rune {
			if c == '\n' || c == '\r' {
				return ' '
			}
			return c
		}, data)
		want = bytes.TrimSpace(want) // the decoder leaves out white space around a value
	}
	if got := r.Bytes(); !bytes.Equal(got, want) || r.Sequence != 7 || r.Arrival.UnixMicro() != 1_700_000_000_123_456 {
		t.Fatalf("%q, want %q, in %s", got, want, line)
	}
}

// refusingPutter is a log whose disk fills up behind some records. It is a hand-written
// fake because no real log fails at a place that a test can choose.
type refusingPutter struct {
	room atomic.Int64
}

func (p *refusingPutter) Put(ctx context.Context, records []record.Record, results []shards.Result) ([]shards.Result, error) {
	if p.room.Add(-int64(len(records))) < 0 {
		return results, fmt.Errorf("put: %w", shards.ErrNoSpace)
	}
	for range records {
		results = append(results, shards.Result{Sequence: 1})
	}
	return results, nil
}

// putTo runs a put of NDJSON against a putter.
func putTo(t *testing.T, to putter, body io.Reader, q *putQuery) (*PutAnswer, error) {
	t.Helper()
	h := New(Options{})
	w := httptest.NewRecorder()
	c := &call{Handler: h, w: w, r: httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/streams/s/records", body)}
	if err := c.putLines(to, q); err != nil {
		return nil, err
	}
	var a PutAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	return &a, nil
}

// TestPutLinesDiskFull fills the disk in the middle of a put: the answer says
// what was put and from where on to send again, and every line before that is put.
func TestPutLinesDiskFull(t *testing.T) {
	to := &refusingPutter{}
	to.room.Store(20_000)
	var body bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&body, "{\"k\":%d}\n", i%100)
	}
	_, err := putTo(t, to, &body, &putQuery{Key: "/k"})
	p := asProblem(t, err)
	if p.Kind() != KindNoSpace || p.Status != 507 || p.Put == nil {
		t.Fatalf("%+v", p)
	}
	if p.Put.Put > 20_000 || p.Put.UndecidedFrom < 1 || p.Put.UndecidedFrom > p.Put.Put+1 {
		t.Errorf("%+v: more lines are called decided than were put", p.Put)
	}
}

// TestPutLinesBodyCut ends a body in the middle: whole lines are put, the last is not.
func TestPutLinesBodyCut(t *testing.T) {
	to := &refusingPutter{}
	to.room.Store(1000)
	body := io.MultiReader(strings.NewReader("1\n2\n3"), iotestErr{})
	_, err := putTo(t, to, body, &putQuery{})
	p := asProblem(t, err)
	if p.Kind() != KindBodyCut || p.Put.Put != 2 || p.Put.UndecidedFrom != 3 {
		t.Errorf("%+v %+v", p, p.Put)
	}
}

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestPutLinesResultsCut asks for more results than an answer holds.
func TestPutLinesResultsCut(t *testing.T) {
	to := &refusingPutter{}
	to.room.Store(1 << 30)
	a, err := putTo(t, to, strings.NewReader(strings.Repeat("1\n", maxResults+10)), &putQuery{Results: true})
	if err != nil || a.Put != maxResults+10 || len(a.Results) != maxResults || !a.ResultsCut {
		t.Errorf("put %d, %d results, cut %v, %v", a.Put, len(a.Results), a.ResultsCut, err)
	}
}

// TestPutLinesFailuresCut has more refused lines than an answer names.
func TestPutLinesFailuresCut(t *testing.T) {
	to := &refusingPutter{}
	to.room.Store(1 << 30)
	a, err := putTo(t, to, strings.NewReader("1\n"+strings.Repeat("{\n", maxFailures+10)), &putQuery{})
	if err != nil || a.Put != 1 || a.Failed != maxFailures+10 || len(a.Failures) != maxFailures || a.Failures[0].Line != 2 {
		t.Errorf("%d failed, %d named, %v", a.Failed, len(a.Failures), err)
	}
}

// TestPutLinesWithoutPause sends lines one by one: each is put before the next
// is sent, because nothing waits for a batch to fill.
func TestPutLinesWithoutPause(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		if a, err := h.PutLines(t.Context(), "s", read, LineOptions{}); err != nil || a.Put != 5 {
			t.Errorf("%+v, %v", a, err)
		}
	})
	defer write.Close()
	fmt.Fprintln(write, 0)
	n := 0
	for r, err := range h.Records(ctx, "s", ReadOptions{Follow: true}) {
		if err != nil {
			break
		}
		if string(r.JSON) != fmt.Sprint(n) {
			t.Errorf("record %d is %s", n, r.JSON)
		}
		if n++; n == 5 {
			cancel()
			continue
		}
		fmt.Fprintln(write, n)
	}
}

// TestStop stops the host while a put of NDJSON and a follow are under way:
// both end at once, and the put says what it has put.
func TestStop(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 2)
	read, write := io.Pipe()
	defer write.Close()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		_, err := h.PutLines(t.Context(), "s", read, LineOptions{})
		if p := asProblem(t, err); p.Kind() != KindStopping || p.Put == nil || p.Put.Put != 1 || p.Put.UndecidedFrom != 2 {
			t.Errorf("the put: %+v %+v", p, p.Put)
		}
	})
	fmt.Fprintln(write, 1)
	begin := time.Now()
	for _, err := range h.Records(t.Context(), "s", ReadOptions{Follow: true}) {
		if err != nil {
			t.Errorf("the follow: %v", err)
		}
		begin = time.Now()
		group.Go(func() {
			if err := h.server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the follow ended after %v", took)
	}
}

// TestStalledBody stops sending in the middle of a body.
func TestStalledBody(t *testing.T) {
	h := bootWith(t, t.TempDir(), Limits{LinesIdle: 50 * time.Millisecond, BodyIdle: 50 * time.Millisecond})
	h.stream(t, "s", 1)
	for _, kind := range []string{typeLines, typeBatch} {
		read, write := io.Pipe()
		var group sync.WaitGroup
		group.Go(func() {
			_, err := h.finish(t.Context(), request{method: http.MethodPost, path: []string{"streams", "s", "records"}, body: read, kind: kind}, nil)
			if p := asProblem(t, err); p.Kind() != KindBodyStalled || p.Limit != "50ms" {
				t.Errorf("%s: %+v", kind, p)
			}
			read.Close()
		})
		io.WriteString(write, "1\n")
		group.Wait()
		write.Close()
	}
}

// TestGuardEnds checks that the guard of a body does not cut the work after it:
// an invocation that takes longer than a body may pause.
func TestGuardEnds(t *testing.T) {
	h := bootWith(t, t.TempDir(), Limits{BodyIdle: 20 * time.Millisecond})
	h.deploy(t, "echo", FunctionConfig{Timeout: Duration(200 * time.Millisecond)})
	_, err := h.Invoke(t.Context(), "echo", "", []byte("loop"))
	if p := asProblem(t, err); p.Kind() != KindFunctionFailed || p.Function.Kind != "timeout" {
		t.Errorf("%+v", p)
	}
}

// linesBody is a body of n equal events.
type linesBody struct {
	line []byte
	left int
	rest []byte
}

func (b *linesBody) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(b.rest) == 0 {
			if b.left == 0 {
				return n, io.EOF
			}
			b.left--
			b.rest = b.line
		}
		k := copy(p[n:], b.rest)
		n, b.rest = n+k, b.rest[k:]
	}
	return n, nil
}

// TestMemoryStaysFlat puts 128 MB of NDJSON into a putter that keeps nothing:
// the heap does not grow with the body.
func TestMemoryStaysFlat(t *testing.T) {
	to := &refusingPutter{}
	to.room.Store(1 << 40)
	line := append(bytes.Clone(event), '\n')
	body := &heapWatcher{r: &linesBody{line: line, left: (128 << 20) / len(line)}}
	goruntime.GC()
	var before goruntime.MemStats
	goruntime.ReadMemStats(&before)
	if a, err := putTo(t, to, body, &putQuery{Key: "/origin"}); err != nil || a.Failed != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	if grown := int64(body.most) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// heapWatcher looks at the heap every 16 MiB of a body.
type heapWatcher struct {
	r          io.Reader
	read, next int64
	most       uint64
}

func (w *heapWatcher) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.read += int64(n); w.read >= w.next {
		w.next += 16 << 20
		var m goruntime.MemStats
		goruntime.ReadMemStats(&m)
		w.most = max(w.most, m.HeapInuse)
	}
	return n, err
}

// TestLineAllocates asserts that a line costs no allocation on its way from the
// body to the log.
func TestLineAllocates(t *testing.T) {
	to := &refusingPutter{}
	to.room.Store(1 << 40)
	path, _ := parsePointer("/origin")
	o := newOutcome(false)
	p := &linePut{lanes: startLanes(t.Context(), to, o), outcome: o, reader: newLineReader(nil, 1<<20, -1), path: path}
	put := func(n int) {
		for range n {
			if err := p.line(event, lineWhole); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(20 * laneBatch) // the batches have grown
	const lines = 10_000
	if n := testing.AllocsPerRun(10, func() { put(lines) }) / lines; n > 0.001 {
		t.Errorf("%v allocations a line, want 0", n)
	}
	if _, err := p.lanes.finish(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkPutLines is the figure: events of 200 bytes over HTTP, durable, with
// client and host in one process.
func BenchmarkPutLines(b *testing.B) {
	for _, shardCount := range []int{1, 4, 64} {
		b.Run(fmt.Sprintf("shards=%d", shardCount), func(b *testing.B) {
			h := boot(b)
			h.stream(b, "s", shardCount)
			const events = 100_000
			var body bytes.Buffer
			for i := range events {
				body.Write(bytes.Replace(event, []byte("DFW"), fmt.Appendf(nil, "%03d", i%400), 1))
				body.WriteByte('\n')
			}
			b.SetBytes(int64(body.Len()))
			b.ReportAllocs()
			for b.Loop() {
				a, err := h.PutLines(b.Context(), "s", bytes.NewReader(body.Bytes()), LineOptions{Key: "/origin"})
				if err != nil || a.Put != events {
					b.Fatalf("%+v, %v", a, err)
				}
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// errBody fails where a body must not be read.
var errBody = errors.New("the body was read")

type forbidden struct{}

func (forbidden) Read([]byte) (int, error) { return 0, errBody }

// TestRefusedBeforeTheBody checks that a put to no stream reads nothing of its body.
func TestRefusedBeforeTheBody(t *testing.T) {
	h := boot(t)
	_, err := h.PutLines(t.Context(), "none", forbidden{}, LineOptions{})
	if p := asProblem(t, err); p.Kind() != KindStreamNotFound {
		t.Errorf("%+v", p)
	}
}
