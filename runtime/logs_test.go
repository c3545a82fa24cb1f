package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func (w *world) lines(t testing.TB, name string) []LogLine {
	t.Helper()
	lines, err := w.Logs(t.Context(), name, time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(lines)
}

func TestLogs(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Concurrency: 1})
	started := time.Now()
	call := Call{Function: "probe", Kind: KindInvoke, ID: "first", Body: []byte("print one\n\n{\"level\":\"WARN\",\"msg\":\"two\"}\r\nthree")}
	if err := w.Invoke(t.Context(), call, new(Reply)); err != nil {
		t.Fatal(err)
	}
	call.ID, call.Body = "second", []byte("complain bad \xff byte")
	if err := w.Invoke(t.Context(), call, new(Reply)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range w.lines(t, "probe") {
		got = append(got, fmt.Sprintf("%s %s %s %d", l.Level, l.Message, l.Invocation, l.Version))
		if l.Function != "probe" || l.Time.Before(started) {
			t.Errorf("line %+v", l)
		}
	}
	want := []string{
		"info one first 1", "info  first 1", `warn {"level":"WARN","msg":"two"} first 1`, "info three first 1",
		"error bad \uFFFD byte second 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	later, err := w.Logs(t.Context(), "probe", time.Now().Add(time.Hour), false)
	if err != nil || len(slices.Collect(later)) != 0 {
		t.Errorf("lines of the future: %v", err)
	}
}

func TestLogsAreBounded(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	w := open(t, func(o *Options) { o.LogBytes = 50_000; o.Registerer = registry })
	w.deploy(t, "probe", guests["probe"], Config{})
	w.mustAsk(t, "probe", "log 1500")
	lines := w.lines(t, "probe")
	last := lines[len(lines)-1]
	if last.Level != "warn" || !strings.HasPrefix(last.Message, "500 more log lines were dropped") {
		t.Errorf("the last line is %+v", last)
	}
	if got := lines[len(lines)-2].Message; got != "line 999" {
		t.Errorf("the last but one is %q", got)
	}
	size := 0
	for _, l := range lines {
		size += l.size()
	}
	if size > 50_000 || len(lines) < 300 {
		t.Errorf("%d lines of %d bytes are kept", len(lines), size)
	}
	w.mustAsk(t, "probe", "print "+strings.Repeat("x", 20_000))
	lines = w.lines(t, "probe")
	long := lines[len(lines)-1].Message
	if len(long) > maxLineBytes || !strings.HasSuffix(long, "bytes more)") {
		t.Errorf("a long line became %d bytes ending in %q", len(long), long[len(long)-20:])
	}
	if got := counter(t, registry, "shardmill_function_log_lines_dropped_total"); got != 500 {
		t.Errorf("%v lines dropped", got)
	}
}

func TestFollow(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{})
	w.mustAsk(t, "probe", "print before")
	ctx, cancel := context.WithCancel(t.Context())
	lines, err := w.Logs(ctx, "probe", time.Time{}, true)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		defer close(got)
		for l := range lines {
			got <- l.Message
		}
	}()
	if s := <-got; s != "before" {
		t.Errorf("first %q", s)
	}
	for i := range 3 {
		w.mustAsk(t, "probe", fmt.Sprintf("print after %d", i))
		if s := <-got; s != fmt.Sprintf("after %d", i) {
			t.Errorf("then %q", s)
		}
	}
	cancel()
	if s, open := <-got; open {
		t.Errorf("after the end %q", s)
	}
}

func TestFollowEndsWithTheFunction(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", constant(t, "x"), Config{})
	lines, err := w.Logs(t.Context(), "f", time.Time{}, true)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range lines {
			t.Error("a line")
		}
	}()
	if err := w.Delete(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestSlowReaderIsTold(t *testing.T) {
	r := newLogRing(1000)
	rt := &Runtime{functions: map[string]*function{"f": {name: "f", logs: r}}}
	lines, err := rt.Logs(t.Context(), "f", time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	r.append(LogLine{Message: "0"})
	var got []string
	for l := range lines {
		got = append(got, l.Message)
		if len(got) == 1 {
			for i := 1; i <= 100; i++ {
				r.append(LogLine{Message: fmt.Sprint(i)})
			}
		}
	}
	if len(got) != 9 || got[1] != "93 log lines were dropped before they could be read" || got[8] != "100" {
		t.Errorf("read %q", got)
	}
}

func TestLineWriterInPieces(t *testing.T) {
	text := "first line\nsecond, longer line\n\nlast"
	for size := 1; size <= len(text); size++ {
		ring := newLogRing(1 << 20)
		c := newCapture(&identity{}, ring, nil)
		c.begin("x")
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if wrote, err := c.stdout.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatal(wrote, err)
			}
			rest = rest[n:]
		}
		c.end()
		var got []string
		for _, l := range ring.values {
			got = append(got, l.Message)
		}
		if !slices.Equal(got, strings.Split(text, "\n")) {
			t.Errorf("pieces of %d: %q", size, got)
		}
	}
}

func TestComplaint(t *testing.T) {
	for _, c := range []struct{ stderr, sentence, trace string }{
		{"", "", ""},
		{"something\nwent wrong\n", "went wrong", ""},
		{"log\npanic: boom\n\ngoroutine 1 [running]:\nmain.f()\n", "panic: boom", "goroutine 1 [running]:\nmain.f()"},
		{"fatal error: out of memory\n", "fatal error: out of memory", ""},
		{strings.Repeat("noise\n", 10_000) + "panic: boom\nx", "panic: boom", "x"},
	} {
		w := lineWriter{to: newCapture(&identity{}, newLogRing(0), nil), keepTail: true}
		for _, line := range strings.SplitAfter(c.stderr, "\n") {
			_, _ = w.Write([]byte(line))
		}
		if sentence, trace := w.complaint(); sentence != c.sentence || trace != c.trace {
			t.Errorf("%.40q: %q, %q", c.stderr, sentence, trace)
		}
		if len(w.tail) > 2*maxTailBytes {
			t.Errorf("%d bytes are kept", len(w.tail))
		}
	}
}

// counter is the sum of a metric's series.
func counter(t testing.TB, g prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	w := open(t, func(o *Options) { o.Registerer = registry })
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"s"}})
	w.mustAsk(t, "probe", "emit s x")
	_, err := w.ask(t.Context(), "probe", "exit 1")
	failure(t, err, FailExit)
	w.mustAsk(t, "probe", "echo")
	for name, want := range map[string]float64{
		"shardmill_function_invocations_total":         3,
		"shardmill_function_duration_seconds":          3,
		"shardmill_function_emitted_records_total":     1,
		"shardmill_function_instances":                 1,
		"shardmill_function_instances_discarded_total": 1,
		"shardmill_function_instance_start_seconds":    2,
		"shardmill_function_compile_seconds":           1,
	} {
		if got := counter(t, registry, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := counter(t, registry, "shardmill_function_fuel_total"); got < 1000 {
		t.Errorf("fuel %v", got)
	}
	if got := counter(t, registry, "shardmill_function_memory_bytes"); got < 1<<20 || got > DefaultMemoryBytes {
		t.Errorf("memory %v", got)
	}
	if err := w.Delete(t.Context(), "probe"); err != nil {
		t.Fatal(err)
	}
	if got := counter(t, registry, "shardmill_function_invocations_total"); got != 0 {
		t.Errorf("a deleted function has %v invocations", got)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("after Close: %v, %v", families, err)
	}
}
