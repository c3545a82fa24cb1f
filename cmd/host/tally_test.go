package main

import (
	"bytes"
	"strings"
	"testing"
)

func tallyOf(columns []tallyColumn, records ...[2]string) *tally {
	t := newTally("out", columns)
	for _, r := range records {
		t.add(r[0], []byte(r[1]))
	}
	return t
}

var delays = [][2]string{
	{"DFW", `{"origin":"DFW","flights":2,"delayMinutes":30}`},
	{"ATL", `{"origin":"ATL","flights":1,"delayMinutes":-5}`},
	{"DFW", `{"origin":"DFW","flights":1200,"delayMinutes":10}`},
	{"JFK", `{"origin":"JFK","flights":0,"delayMinutes":0}`},
}

func TestTallyTable(t *testing.T) {
	mean := []tallyColumn{{name: "flights", num: "flights"}, {name: "meanDelay", num: "delayMinutes", den: "flights"}}
	tests := []struct {
		name    string
		columns []tallyColumn
		limit   int
		records [][2]string
		want    string
	}{
		{"every field", nil, 0, delays, `
ORIGIN  FLIGHTS  DELAY MINUTES
DFW       1,202             40
ATL           1             -5
JFK           0              0
`},
		{"chosen columns and a ratio", mean, 0, delays, `
ORIGIN  FLIGHTS  MEAN DELAY
DFW       1,202        0.03
ATL           1       -5.00
JFK           0           -
`},
		{"limited", nil, 1, delays, `
ORIGIN  FLIGHTS  DELAY MINUTES
DFW       1,202             40
… and 2 more (--rows 0 shows all)
`},
		{"no field repeats the key", nil, 0, [][2]string{{"a", `{"n":1.5}`}, {"b", `{"n":2,"k":"a"}`}}, `
KEY     N
b       2
a    1.50
`},
		{"nothing numeric", nil, 0, [][2]string{{"a", `hello`}, {"a", `[1]`}, {"b", `{"x":"y"}`}}, `
KEY  RECORDS
a          2
b          1
`},
		{"nothing", nil, 0, nil, `
KEY  RECORDS
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := tallyOf(tt.columns, tt.records...).writeTable(&b, tt.limit); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(strings.TrimPrefix(tt.want, "\n"), "-5.00", "   -5") // whole numbers stay whole
			if got := b.String(); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestTallyJSON(t *testing.T) {
	mean := []tallyColumn{{name: "flights", num: "flights"}, {name: "meanDelay", num: "delayMinutes", den: "flights"}}
	var b bytes.Buffer
	if err := tallyOf(mean, delays...).writeJSON(&b, false); err != nil {
		t.Fatal(err)
	}
	want := `{"origin":"DFW","flights":1202,"meanDelay":0.033277870216306155,"delayMinutes":40,"records":2}
{"origin":"ATL","flights":1,"meanDelay":-5,"delayMinutes":-5,"records":1}
{"origin":"JFK","flights":0,"meanDelay":null,"delayMinutes":0,"records":1}
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := tallyOf(nil, [2]string{`"q"`, `{"records":7}`}).writeJSON(&b, true); err != nil {
		t.Fatal(err)
	}
	if want := `{"stream":"out","key":"\"q\"","records":7}` + "\n"; b.String() != want {
		t.Errorf("got %s want %s", b.String(), want)
	}
}

func TestTallyCountsWhatIsNotJSON(t *testing.T) {
	tally := tallyOf(nil, [2]string{"a", "{"}, [2]string{"a", `{"n":1`}, [2]string{"a", ""}, [2]string{"a", `{"n":1}`})
	if tally.records != 4 || tally.plain != 3 {
		t.Errorf("records %d, plain %d; want 4 and 3", tally.records, tally.plain)
	}
}

func TestHeading(t *testing.T) {
	for name, want := range map[string]string{
		"origin": "ORIGIN", "delayMinutes": "DELAY MINUTES", "delay_minutes": "DELAY MINUTES",
		"meanDelayMinutes": "MEAN DELAY MINUTES", "bytesIO": "BYTES IO", "ü": "Ü", "": "",
	} {
		if got := heading(name); got != want {
			t.Errorf("heading(%q) = %q, want %q", name, got, want)
		}
	}
}
