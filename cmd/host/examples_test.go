package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

// delayLanguages are the folders of the one example that is written in every language.
var delayLanguages = []string{"delays", "delays-c", "delays-rust", "delays-assemblyscript", "delays-typescript"}

func example(name string) string { return filepath.Join("..", "..", "functions", "examples", name) }

// The example gives the same records in every language: those of the golden file.
func TestDelaysInEveryLanguage(t *testing.T) {
	flights := sdktest.Lines(t, filepath.Join(example("delays"), "testdata", "flights.ndjson.gz"), "origin")[:300]
	want := readString(t, filepath.Join(example("delays"), "testdata", "delays.golden"))
	notFlights := []record.Record{
		{Data: []byte(`{"origin":"DFW","delay":-3}`)},
		{Data: []byte(`{"origin":"DFW","delay":`)},
		{Data: []byte(`{"delay":3}`)},
		{},
		{Data: []byte(` {"distance":[1,{"a":null}],"delay":10,"origin":"DFW","date":"\"x\\"} `)},
		{Data: []byte(`{"origin":"DFW","delay":1.5}`)},
		{Data: []byte(`{"origin":"DFW","delay":1}}`)},
		{Data: []byte(`{"origin":"DFW","delay":"1"}`)},
		{Data: []byte(`{"origin":7}`)},
		{Data: []byte(`["origin"]`)},
		{Data: []byte("{\"origin\":\"A\nB\"}")},
		{Data: []byte(strings.Repeat("[", 100_000))},
	}
	for _, name := range delayLanguages {
		t.Run(name, func(t *testing.T) {
			g := deployGuest(t, built(t, example(name)), "delays")
			var got strings.Builder
			for batch := range slices.Chunk(flights, 100) {
				s := g.call(t, batchCall(t, batch...))
				if s.Failed != "" || len(s.Outcomes) != 0 {
					t.Fatalf("%+v", s)
				}
				for _, r := range s.Emitted["delays"] {
					fmt.Fprintln(&got, strings.Replace(r, "  ", " ", 1)) // without the explicit hash, which is empty
				}
			}
			if got.String() != want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
			s := g.call(t, batchCall(t, notFlights...))
			var rejected []string
			for _, i := range []int{1, 2, 3, 5, 6, 7, 8, 9, 10, 11} {
				rejected = append(rejected, fmt.Sprint(i, " rejected not a flight"))
			}
			if !slices.Equal(s.Outcomes, rejected) {
				t.Errorf("outcomes %q", s.Outcomes)
			}
			if out := s.Emitted["delays"]; !slices.Equal(out, []string{`DFW  {"origin":"DFW","flights":2,"delayMinutes":7}`}) {
				t.Errorf("emitted %q", out)
			}
		})
	}
}

func batchCall(t testing.TB, records ...record.Record) runtime.Call {
	t.Helper()
	var w record.Builder
	for _, r := range records {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return runtime.Call{Kind: runtime.KindBatch, Records: []record.Run{w.Run()}}
}

// Flights that are written as CSV come back as they were, byte for byte, in single rows and in records of many.
func TestCSV(t *testing.T) {
	g := deployGuest(t, built(t, example("csv")), "json")
	flights := sdktest.Lines(t, filepath.Join(example("delays"), "testdata", "flights.ndjson.gz"), "origin")
	for _, rows := range []int{1, 7} {
		var want []string
		var records []record.Record
		for some := range slices.Chunk(flights, rows) {
			var text bytes.Buffer
			w := csv.NewWriter(&text)
			w.UseCRLF = rows > 1
			for _, f := range some {
				var v struct {
					Date, Origin, Destination string
					Delay, Distance           json.Number
				}
				if err := json.Unmarshal(f.Data, &v); err != nil {
					t.Fatal(err)
				}
				if err := w.Write([]string{v.Date, v.Delay.String(), v.Distance.String(), v.Origin, v.Destination}); err != nil {
					t.Fatal(err)
				}
				want = append(want, fmt.Sprintf("%s  %s", some[0].Key, f.Data))
			}
			w.Flush()
			records = append(records, record.Record{Key: some[0].Key, Data: text.Bytes()})
		}
		for how, s := range map[string]said{"batch": g.call(t, batchCall(t, records...)), "transform": g.transformed(t, batchCall(t, records...), "json")} {
			if s.Failed != "" || len(s.Outcomes) > 0 || !slices.Equal(s.Emitted["json"], want) {
				t.Errorf("%s, %d rows a record: %s %v, %d records", how, rows, s.Failed, s.Outcomes, len(s.Emitted["json"]))
			}
		}
	}
	for row, want := range map[string]string{
		"d,1,2,A,B":                      `{"date":"d","delay":1,"distance":2,"origin":"A","destination":"B"}`,
		`"a ""b"", c",-1.50,,,é` + "\n":  `{"date":"a \"b\", c","delay":-1.50,"distance":null,"origin":"","destination":"é"}`,
		"\"two\nlines\",0,0,a\\b,\t\r\n": `{"date":"two\u000alines","delay":0,"distance":0,"origin":"a\\b","destination":"\u0009"}`,
		"":                               "there are too few fields",
		"d,1,2,A":                        "there are too few fields",
		"d,1,2,A,B,C":                    "there are too many fields",
		`d,1,2,A,"B"C`:                   "something stands behind a quoted field",
		`d,1,2,A,"B`:                     "a quoted field does not end",
		`d,1,2,A,B"`:                     "a quote stands inside a field",
		"d,01,2,A,B":                     "a number is none",
		"d,1.,2,A,B":                     "a number is none",
		"d,one,2,A,B":                    "a number is none",
		"d,-,2,A,B":                      "a number is none",
		"d,1,2,A,B\n\n":                  "there are too few fields",
		"date,delay,distance,origin,destination\r\n":  "0 dropped header",
		"date,delay,distance,origin,destination,more": "a number is none",
		"date,delay,distance,origin,destinatio":       "a number is none",
	} {
		call := batchCall(t, record.Record{Key: []byte("k"), Data: []byte(row)})
		for how, s := range map[string]said{"batch": g.call(t, call), "transform": g.transformed(t, call, "json")} {
			got := strings.TrimPrefix(strings.Join(append(s.Emitted["json"], s.Outcomes...), "|"), "k  ")
			if strings.TrimPrefix(got, "0 rejected ") != want {
				t.Errorf("%s, %q: %s, want %s", how, row, got, want)
			}
		}
	}
}

// The invented tickets come out as the golden file has them; what is not text is rejected.
func TestRedact(t *testing.T) {
	g := deployGuest(t, built(t, example("redact")), "redacted")
	var records []record.Record
	for line := range strings.Lines(readString(t, filepath.Join(example("redact"), "testdata", "tickets.ndjson"))) {
		records = append(records, record.Record{Key: []byte("k"), Data: []byte(strings.TrimSuffix(line, "\n"))})
	}
	s := g.call(t, batchCall(t, append(records, record.Record{Data: []byte{0xff}})...))
	var got strings.Builder
	for _, r := range s.Emitted["redacted"] {
		fmt.Fprintln(&got, strings.TrimPrefix(r, "k  "))
	}
	golden(t, filepath.Join(example("redact"), "testdata", "redacted.golden"), got.String())
	if !slices.Equal(s.Outcomes, []string{"10 rejected not text in UTF-8"}) {
		t.Errorf("outcomes %q", s.Outcomes)
	}
}

var updateGolden = flag.Bool("update", false, "write the examples' golden files")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *updateGolden {
		writeFile(t, file, got)
	}
	if want := readString(t, file); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Lines of an access log come out as the golden file has them; each is parsed, dropped or rejected.
func TestAccessLog(t *testing.T) {
	g := deployGuest(t, built(t, example("access-log")), "requests")
	var records []record.Record
	for line := range strings.Lines(readString(t, filepath.Join(example("access-log"), "testdata", "access.log"))) {
		records = append(records, record.Record{Data: []byte(line)})
	}
	s := g.call(t, batchCall(t, records...))
	var got strings.Builder
	for _, r := range s.Emitted["requests"] {
		fmt.Fprintln(&got, strings.Replace(r, "  ", " ", 1))
		if _, data, _ := strings.Cut(r, "  "); !json.Valid([]byte(data)) {
			t.Errorf("%s is no JSON", data)
		}
	}
	golden(t, filepath.Join(example("access-log"), "testdata", "requests.golden"), got.String())
	if want := []string{"2 dropped health check", "5 rejected not a line of an access log", "7 rejected not a line of an access log"}; !slices.Equal(s.Outcomes, want) {
		t.Errorf("outcomes %q", s.Outcomes)
	}
}

// The examples' own tests in Rust run here too.
func TestRustExamples(t *testing.T) {
	t.Parallel()
	tool, err := findRust(t.Context())
	skipMissing(t, err)
	program := exec.Command(tool.rustc, "-o", filepath.Join(t.TempDir(), "program"), "-")
	program.Stdin = strings.NewReader("fn main() {}")
	if text, err := program.CombinedOutput(); err != nil {
		skipMissing(t, &toolchainError{"a test in Rust", "a C compiler that rustc links with: " + string(text), "apt-get install gcc libc6-dev"})
	}
	manifests, err := filepath.Glob(example("*/Cargo.toml"))
	if err != nil || len(manifests) < 3 {
		t.Fatal(manifests, err)
	}
	target := filepath.Join(t.TempDir(), "target") // the SDK is compiled once
	for _, manifest := range manifests {
		cmd := exec.Command(tool.cargo, "test", "--quiet", "--offline", "--locked", "--target-dir", target, "--manifest-path", manifest)
		cmd.Env = append(os.Environ(), "RUSTC="+tool.rustc, "RUSTDOC="+filepath.Join(filepath.Dir(tool.rustc), "rustdoc"))
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", manifest, err, text)
		}
	}
}
