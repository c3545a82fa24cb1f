package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

func TestDurationForms(t *testing.T) {
	for in, want := range map[string]time.Duration{"24h": 24 * time.Hour, "3s": 3 * time.Second, "500ms": 500 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "0s": 0} {
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", in, d, err)
		}
	}
	for _, in := range []string{"", "24", "h", "1.5d", "-1d", "99999d", "1 h"} {
		var d Duration
		if err := d.UnmarshalText([]byte(in)); !errors.Is(err, errDuration) {
			t.Errorf("%q is taken for %v", in, d)
		}
	}
	for d, want := range map[time.Duration]string{24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 3 * time.Second: "3s", 0: "0s", 1500 * time.Millisecond: "1.5s", time.Minute: "1m", 10 * time.Second: "10s"} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v is written %s", d, got)
		}
	}
}

func TestSizeForms(t *testing.T) {
	for in, want := range map[string]Size{"0": 0, "1048576": 1 << 20, "128MiB": 128 << 20, "1KiB": 1024, "2GB": 2e9, "5 kB": 5000, "7B": 7, "1Gi": 1 << 30} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "1.5MiB", "MiB", "1 TiB", "9223372036854775808", "9007199254740993MiB", "0x10"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q is taken for %d", in, got)
		}
	}
	for s, want := range map[Size]string{128 << 20: "128MiB", 1 << 30: "1GiB", 1025: "1025", 0: "0", 3 << 10: "3KiB"} {
		if s.String() != want {
			t.Errorf("%d is written %s", int64(s), s)
		}
	}
	var c FunctionConfig
	if err := decodeJSON([]byte(`{"memory":1024}`), &c); err != nil || c.Memory != 1024 {
		t.Errorf("a number: %v, %v", c.Memory, err)
	}
	if err := decodeJSON([]byte(`{"memory":1.5}`), &c); err == nil {
		t.Error("a fraction is taken")
	}
}

// TestProblemTable holds doc.go to the table of kinds.
func TestProblemTable(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Kind]bool{}
	for i, row := range kinds {
		if seen[row.kind] || row.status < 400 || row.title == "" {
			t.Errorf("row %d is %+v", i, row)
		}
		seen[row.kind] = true
		found := false
		for text := range strings.Lines(string(doc)) {
			got := strings.Fields(strings.TrimPrefix(text, "//"))
			found = found || len(got) > 2 && got[0] == strconv.Itoa(row.status) && got[1] == string(row.kind) && strings.Join(got[2:], " ") == row.title
		}
		if !found {
			t.Errorf("doc.go lacks: %d  %s  %s", row.status, row.kind, row.title)
		}
	}
	for _, row := range sentinels {
		if !seen[row.kind] {
			t.Errorf("%v has the kind %s, which is not in the table", row.err, row.kind)
		}
	}
}

// TestProblemOf checks that what is not known of an error stays with the host.
func TestProblemOf(t *testing.T) {
	p := problemOf(errors.New("secret"))
	if p.Status != 500 || p.Kind() != KindInternal || strings.Contains(p.Detail, "secret") {
		t.Errorf("%+v", p)
	}
	d := &shards.DamageError{Stream: "s", Shard: 2, First: 5, Last: 9, File: "f", Offset: 3, Reason: "bad CRC"}
	p = problemOf(errors.Join(shards.ErrDamaged, d))
	if p.Kind() != KindDamaged || p.Damage == nil || p.Damage.Shard != "shardId-000000000002" || p.Damage.Last != 9 {
		t.Errorf("%+v %+v", p, p.Damage)
	}
	late := problemOf(fmt.Errorf("runtime: deploy \"f\": %w", runtime.ErrSuperseded))
	if late.Status != 409 || late.Kind() != KindConflict || !strings.HasPrefix(late.Detail, `Deploy "f": a newer upload has taken its place`) || !strings.Contains(late.Detail, "deploy this again") {
		t.Errorf("%+v", late)
	}
	if files := problemOf(shards.ErrFiles); files.Kind() != KindTooManyFiles || !strings.Contains(files.Detail, "ulimit -n") {
		t.Errorf("%+v", files)
	}
	if !errors.Is(p, &Problem{Type: problemType + string(KindDamaged)}) || errors.Is(p, &Problem{Type: problemType + string(KindInternal)}) {
		t.Error("problems are not compared by type")
	}
}

// TestWriteProblemBearsAnything writes a problem about a path that is not UTF-8.
func TestWriteProblemBearsAnything(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/v1/%ff", nil)
	writeProblem(w, r, invalidField("name", "\xff"+strings.Repeat("ä", 100), "letters"))
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Instance != "/v1/%ff" || !utf8.ValidString(p.Value) || w.Code != 400 {
		t.Errorf("%s, %v", w.Body, err)
	}
}

// cutLines reads all lines of a text.
func cutLines(r io.Reader, maxLine int) (list []string, err error) {
	l := newLineReader(r, maxLine, int64(maxLine%3)-1)
	note := func(line []byte, state lineState) {
		if state == lineTooLong {
			list = append(list, "too long")
			return
		}
		list = append(list, string(line))
	}
	for {
		readErr := l.fill()
		for {
			line, state := l.take()
			if state == lineNone {
				break
			}
			note(line, state)
		}
		if readErr == io.EOF {
			if line, state := l.last(); state != lineNone {
				note(line, state)
			}
			return list, nil
		}
		if readErr != nil {
			return list, readErr
		}
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	for _, c := range []struct {
		text string
		max  int
		want []string
	}{
		{"", 10, nil},
		{"a", 10, []string{"a"}},
		{"a\nb\r\n\nc", 10, []string{"a", "b", "", "c"}},
		{"a\n", 10, []string{"a"}},
		{"0123456789\n01234567890\r\nx", 10, []string{"0123456789", "too long", "x"}},
		{"0123456789\r\nx", 10, []string{"0123456789", "x"}},
		{long + "\nx\n", 400 << 10, []string{long, "x"}},
		{long + "\nx\n" + long, 10, []string{"too long", "x", "too long"}},
	} {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.text), "half": iotest.HalfReader(strings.NewReader(c.text)),
			"with its end": iotest.DataErrReader(strings.NewReader(c.text)),
		} {
			got, err := cutLines(r, c.max)
			if err != nil || strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("%.20q, %s: %d lines, %v", c.text, name, len(got), err)
			}
		}
	}
	if _, err := cutLines(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("a\nb\n"))), 10); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// FuzzLines compares the reader of lines with strings.Split, whatever the
// sizes of reads.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\nc"), uint16(3), uint8(1))
	f.Add([]byte("0123456789\n0"), uint16(9), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, maxLine uint16, step uint8) {
		limit := int(maxLine)%64 + 1
		got, err := cutLines(&stepReader{bytes.NewReader(text), int(step)%7 + 1}, limit)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "\n")
		if last := len(parts) - 1; parts[last] == "" {
			parts = parts[:last]
		}
		for i := range parts {
			if parts[i] = strings.TrimSuffix(parts[i], "\r"); len(parts[i]) > limit {
				parts[i] = "too long"
			}
		}
		if strings.Join(got, "\n") != strings.Join(parts, "\n") || len(got) != len(parts) {
			t.Fatalf("%q with limit %d: %q, want %q", text, limit, got, parts)
		}
	})
}

// stepReader reads a few bytes at a time.
type stepReader struct {
	r    io.Reader
	step int
}

func (s *stepReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.step)]) }

// FuzzPutBody decodes bodies of a put: never a panic, what is refused says why,
// and what the server takes the client's own type takes too.
func FuzzPutBody(f *testing.F) {
	f.Add([]byte(`{"records":[{"partitionKey":"k","data":"AA==","explicitHashKey":"1"},{"partitionKey":"k","json":{"a":[1]}}]}`))
	f.Add([]byte(`{"records":[{"partitionKey":"k","text":null}]}`))
	f.Add([]byte(`{"records":[{"partitionKey":5}],"x":[{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var in putBody
		var p *Problem
		if err := decodeJSON(body, &in); err != nil {
			if !errors.As(err, &p) || p.Status != 400 || p.Detail == "" {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		wrong := 0
		for i := range in.Records {
			if _, bad := in.Records[i].decode(); bad != nil {
				wrong++
				if bad.Status != 400 || bad.Detail == "" || bad.Field == "" || bad.Limit == "" {
					t.Fatalf("%q: record %d: %+v", body, i, bad)
				}
			}
		}
		var documented PutRecords
		if err := decodeJSON(body, &documented); err != nil && wrong == 0 {
			t.Fatalf("%q is taken, but the documented type refuses it: %v", body, err)
		}
	})
}

// FuzzQuery decodes queries: never a panic, and every refusal is a problem that
// names something.
func FuzzQuery(f *testing.F) {
	f.Add("shard=shardId-000000000003&from=oldest&limit=10&follow=true")
	f.Add("timeout=3s&memory=128MiB&emit=a&emit=b&wait=true")
	f.Add("from=2026-11-21T03:45:00Z&from=;%zz")
	f.Fuzz(func(t *testing.T, raw string) {
		for _, v := range []any{&readQuery{}, &deployQuery{}, &logQuery{}, &putQuery{}, &invokeQuery{}, &none{}} {
			err := decodeQuery(raw, v)
			var p *Problem
			if err != nil && (!errors.As(err, &p) || p.Status != 400 || p.Detail == "") {
				t.Fatalf("%q: %v", raw, err)
			}
		}
		if q := new(readQuery); decodeQuery(raw, q) == nil {
			_, err := parseStart(q.From, true)
			if p := (*Problem)(nil); err != nil && !errors.As(err, &p) {
				t.Fatalf("%q: %v", raw, err)
			}
		}
	})
}

// FuzzRecordLine writes records as lines and reads them back.
func FuzzRecordLine(f *testing.F) {
	f.Add([]byte("key"), []byte(`{"a": 1}`))
	f.Add([]byte("k\"\x00"), []byte("text\u2028"))
	f.Add([]byte("\xff"), []byte{0xff})
	f.Fuzz(func(t *testing.T, key, data []byte) { checkRecordLine(t, key, data) })
}

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]string{
		"": typeLines, "*/*": typeLines, "application/x-ndjson": typeLines, "text/event-stream": typeEvents,
		"text/event-stream;q=0, */*": typeLines, "application/json, text/event-stream": typeEvents,
		"text/html, application/*": typeLines, "text/*;q=0.5": typeEvents,
	} {
		if got, err := negotiate([]string{accept}); err != nil || got != want {
			t.Errorf("%q: %s, %v", accept, got, err)
		}
	}
	for _, accept := range []string{"application/json", "text/html", "*/*;q=0"} {
		if got, err := negotiate([]string{accept}); err == nil {
			t.Errorf("%q: %s", accept, got)
		}
	}
}
