package main

import (
	"path/filepath"
	"testing"
)

func TestFilterTest(t *testing.T) {
	events := filepath.Join(t.TempDir(), "events.ndjson")
	writeFile(t, events, `{"origin":"DFW","delay":61}`+"\n\n"+`{"origin":"JFK","delay":5}`+"\nnot json\n")
	late := `'{"data":{"delay":[{"numeric":[">",60]}]}}'`
	for _, tt := range []struct {
		line, stdin    string
		status         int
		stdout, stderr string
	}{
		{"filter test " + events + " --pattern " + late, "", exitOK,
			`^ +1  match  data\.delay is 61, which .* allows\n +2  miss   data\.delay is 5, which .* does not allow\n +3  miss   data is not JSON, .*\n1 of 3 events pass\n$`, ``},
		{"filter test --key origin --pattern " + late + ` --pattern '{"partitionKey":["JFK"]}'`, `{"origin":"JFK","delay":5}`, exitOK,
			`^ +1  pattern 1  miss .*\n +1  pattern 2  match  partitionKey is "JFK", .*\n1 of 1 event passes\n$`, ``},
		{"filter test --output json --key /origin --pattern " + `'{"partitionKey":["7"]}'`, `{"origin":7}`, exitOK,
			`^{"line":1,"pattern":1,"match":true,"why":"partitionKey is .*"}\n$`, ``},
		{"filter test --pattern " + late + " --file " + events, "", exitOK, `^ +1  match .*\n +2  miss .*\n +3  miss .*\n1 of 3 events pass\n$`, ``},
		{"filter test " + events + " --pattern " + late + " --file -", "", exitUsage, ``, `the file is given twice`},
		{"filter test " + events, "", exitUsage, ``, `--pattern is needed`},
		{"filter test --pattern {}", "", exitUsage, ``, `filter pattern 1 is {}; .* at least one field`},
		{"filter test --pattern " + `'{"origin":["DFW"]}'`, `{"origin":"DFW"}`, exitOK, `^ +1  miss   origin is absent \(the fields of a record are data, .*\), which \["DFW"\] does not allow\n0 of 1 event passes\n$`,
			`^warning: filter pattern 1 asks for "origin", which no record has: its fields are data, partitionKey, .*`},
		{"filter test gone.ndjson --pattern " + late, "", exitFailure, ``, `gone.ndjson`},
	} {
		r := cli{stdin: tt.stdin}.run(t.Context(), words(tt.line)...)
		if r.status != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.line, r.status, tt.status, r.stderr)
		}
		match(t, tt.line+": stdout", r.stdout, tt.stdout)
		match(t, tt.line+": stderr", r.stderr, tt.stderr)
	}
}
