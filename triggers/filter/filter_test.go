package filter

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// flight is the record that most cases are about.
var flight = Record{
	PartitionKey: []byte("DFW"), Sequence: 17, Arrival: time.UnixMilli(1545084650987).UnixMicro(),
	Data: []byte(`{"carrier":"AA","delay":61,"tags":["late","intl"],"none":null,"empty":"","ok":true,"ip":"10.0.0.7",
		"fuel":3.0e2,"legs":[{"to":"JFK","seats":10},{"to":"LHR","seats":200}],"crew":{"captain":"Ann"},"city":"D\u00fcsseldorf","list":[]}`),
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern string
		want    bool
	}{
		{`{"partitionKey":["DFW"]}`, true},
		{`{"partitionKey":["dfw"]}`, false},
		{`{"partitionKey":["JFK","DFW"]}`, true},
		{`{"sequenceNumber":["17"]}`, true},
		{`{"kinesisSchemaVersion":["1.0"]}`, true},
		{`{"approximateArrivalTimestamp":[{"numeric":[">",1545084650,"<",1545084651]}]}`, true},
		{`{"approximateArrivalTimestamp":[1545084650.987]}`, true},
		{`{"eventSource":["aws:kinesis"]}`, false},

		{`{"data":{"carrier":["AA"]}}`, true},
		{`{"data":{"carrier":["aa"]}}`, false},
		{`{"data":{"carrier":[{"equals-ignore-case":"aa"}]}}`, true},
		{`{"data":{"carrier":["AA"],"delay":[61]}}`, true},
		{`{"data":{"carrier":["AA"],"delay":[62]}}`, false},
		{`{"partitionKey":["JFK"],"data":{"carrier":["AA"]}}`, false},
		{`{"data":{"delay":[61.0]}}`, false},
		{`{"data":{"delay":["61"]}}`, false},
		{`{"data":{"fuel":[300]}}`, false},
		{`{"data":{"fuel":[3.0e2]}}`, true},
		{`{"data":{"fuel":[{"numeric":["=",300]}]}}`, true},
		{`{"data":{"delay":[{"numeric":[">",60,"<=",61]}]}}`, true},
		{`{"data":{"delay":[{"numeric":[">=",62]}]}}`, false},
		{`{"data":{"delay":[{"numeric":["<",61]}]}}`, false},
		{`{"data":{"carrier":[{"numeric":["<",61]}]}}`, false},

		{`{"data":{"none":[null]}}`, true},
		{`{"data":{"empty":[null]}}`, false},
		{`{"data":{"empty":[""]}}`, true},
		{`{"data":{"missing":[null]}}`, false},
		{`{"data":{"ok":[true]}}`, true},
		{`{"data":{"ok":[false]}}`, false},
		{`{"data":{"ok":["true"]}}`, false},

		{`{"data":{"tags":["intl"]}}`, true},
		{`{"data":{"tags":["domestic"]}}`, false},
		{`{"data":{"tags":[{"anything-but":"late"}]}}`, true},
		{`{"data":{"tags":[{"anything-but":["late","intl"]}]}}`, false},
		{`{"data":{"carrier":[{"anything-but":["AA","BB"]}]}}`, false},
		{`{"data":{"carrier":[{"anything-but":["BB"]}]}}`, true},
		{`{"data":{"delay":[{"anything-but":[60]}]}}`, true},
		{`{"data":{"delay":[{"anything-but":61}]}}`, false},
		{`{"data":{"missing":[{"anything-but":["BB"]}]}}`, false},
		{`{"data":{"carrier":[{"anything-but":{"prefix":"A"}}]}}`, false},
		{`{"data":{"carrier":[{"anything-but":{"prefix":["B","C"]}}]}}`, true},
		{`{"data":{"carrier":[{"anything-but":{"suffix":"B"}}]}}`, true},
		{`{"data":{"carrier":[{"anything-but":{"equals-ignore-case":["aa"]}}]}}`, false},
		{`{"data":{"carrier":[{"anything-but":{"wildcard":"*A"}}]}}`, false},
		{`{"data":{"delay":[{"anything-but":{"prefix":"A"}}]}}`, false},

		{`{"data":{"carrier":[{"exists":true}]}}`, true},
		{`{"data":{"carrier":[{"exists":false}]}}`, false},
		{`{"data":{"missing":[{"exists":false}]}}`, true},
		{`{"data":{"missing":[{"exists":true}]}}`, false},
		{`{"data":{"none":[{"exists":true}]}}`, true},
		{`{"data":{"crew":[{"exists":true}]}}`, false},
		{`{"data":{"crew":[{"exists":false}]}}`, true},
		{`{"data":{"list":[{"exists":false}]}}`, true},
		{`{"data":{"crew":{"captain":[{"exists":true}]}}}`, true},
		{`{"data":{"crew":{"pilot":[{"exists":false}]}}}`, true},
		{`{"data":{"gate":{"number":[{"exists":false}]}}}`, true},
		{`{"data":{"gate":{"number":["7"]}}}`, false},
		{`{"data":{"carrier":{"number":[{"exists":false}]}}}`, true},

		{`{"data":{"crew":{"captain":["Ann"]}}}`, true},
		{`{"data":{"legs":{"to":["LHR"]}}}`, true},
		{`{"data":{"legs":{"to":["JFK"],"seats":[10]}}}`, true},
		{`{"data":{"legs":{"to":["JFK"],"seats":[200]}}}`, false},

		{`{"data":{"carrier":[{"prefix":"A"}]}}`, true},
		{`{"data":{"carrier":[{"prefix":"a"}]}}`, false},
		{`{"data":{"carrier":[{"prefix":{"equals-ignore-case":"a"}}]}}`, true},
		{`{"data":{"city":[{"suffix":"dorf"}]}}`, true},
		{`{"data":{"city":[{"suffix":{"equals-ignore-case":"DORF"}}]}}`, true},
		{`{"data":{"city":["Düsseldorf"]}}`, true},
		{`{"data":{"city":["D\u00fcsseldorf"]}}`, true},
		{`{"data":{"city":[{"equals-ignore-case":"DÜSSELDORF"}]}}`, true},
		{`{"data":{"city":[{"wildcard":"D*el*f"}]}}`, true},
		{`{"data":{"city":[{"wildcard":"D*x*f"}]}}`, false},
		{`{"data":{"city":[{"wildcard":"*"}]}}`, true},
		{`{"data":{"carrier":[{"wildcard":"A*A*A"}]}}`, false},
		{`{"data":{"carrier":[{"wildcard":"AA\\*"}]}}`, false},
		{`{"data":{"ip":[{"cidr":"10.0.0.0/24"}]}}`, true},
		{`{"data":{"ip":[{"cidr":"10.0.1.0/24"}]}}`, false},
		{`{"data":{"carrier":[{"cidr":"10.0.1.0/24"}]}}`, false},

		{`{"data":{"$or":[{"carrier":["BB"]},{"delay":[61]}]}}`, true},
		{`{"data":{"$or":[{"carrier":["BB"]},{"delay":[62]}]}}`, false},
		{`{"data":{"carrier":["BB"],"$or":[{"carrier":["AA"]},{"delay":[61]}]}}`, false},
		{`{"$or":[{"partitionKey":["x"]},{"data":{"carrier":["AA"]}}]}`, true},
		{`{"$or":[{"partitionKey":["x"]},{"$or":[{"partitionKey":["y"]},{"partitionKey":["DFW"]}]}]}`, true},

		{`{"partitionKey":["x"],"partitionKey":["DFW"]}`, true}, // the last counts
		{`{"data":{"carrier":["BB"]},"data":{"carrier":["AA"]}}`, true},
	} {
		f, err := Compile([]string{test.pattern})
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		if got := f.Match(&flight); got != test.want {
			t.Errorf("%s matches: %v, want %v", test.pattern, got, test.want)
		}
		if v := f.Explain(&flight)[0]; v.Match != test.want || v.Why == "" {
			t.Errorf("%s is explained as %v (%s), want %v", test.pattern, v.Match, v.Why, test.want)
		}
	}
}

func TestDataOfEveryKind(t *testing.T) {
	const looks, ignores = `{"data":{"a":[1]}}`, `{"partitionKey":["k"]}`
	for _, test := range []struct {
		data          string
		looks, ignore bool
	}{
		{`{"a":1}`, true, true},
		{" {\"a\" : 1}\r\n", true, true},
		{`{"a":2,"a":1}`, true, true}, // the last counts
		{`{"a":1,"a":2}`, false, true},
		{`{"\u0061":1}`, true, true},
		{`[{"a":1}]`, true, true},
		{`{"a":1} {"a":1}`, false, true},
		{`{"a":1`, false, true},
		{`{"a":1}}`, false, true},
		{`text`, false, true},
		{`"text"`, false, true},
		{`null`, false, true},
		{``, false, true},
		{"\xff\xfe", false, true},
		{strings.Repeat("[", 20_000), false, true},
		{strings.Repeat("[", 500) + `{"a":1}` + strings.Repeat("]", 500), true, true},
	} {
		r := Record{PartitionKey: []byte("k"), Data: []byte(test.data)}
		for pattern, want := range map[string]bool{looks: test.looks, ignores: test.ignore} {
			f, err := Compile([]string{pattern})
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Match(&r); got != want {
				t.Errorf("%s on %.40q matches: %v, want %v", pattern, test.data, got, want)
			}
		}
		both, err := Compile([]string{looks, ignores})
		if err != nil {
			t.Fatal(err)
		}
		if !both.Match(&r) {
			t.Errorf("one of two patterns on %.40q: no match, though patterns are alternatives", test.data)
		}
	}
	if f, err := Compile(nil); err != nil || !f.Match(&flight) {
		t.Errorf("a filter without patterns: %v, want one that passes everything", err)
	}
}

func TestRefusedPatterns(t *testing.T) {
	for _, test := range []struct{ pattern, path, limit string }{
		{``, "", "JSON object"},
		{`[]`, "", "JSON object"},
		{`{"a":[1]`, "", "JSON object"},
		{`{}`, "", "at least one field"},
		{`{"data":"x"}`, "data", "an array"},
		{`{"data":["x"]}`, "data", "names fields"},
		{`{"data":{}}`, "data", "at least one field"},
		{`{"data":{"a":"x"}}`, "data.a", `["x"]`},
		{`{"data":{"a":[]}}`, "data.a", "at least one entry"},
		{`{"data":{"a":[[1]]}}`, "data.a[0]", "operator"},
		{`{"data":{"a":[{"near":"x"}]}}`, "data.a[0].near", "anything-but"},
		{`{"data":{"a":[{"prefix":"x","suffix":"y"}]}}`, "data.a[0]", "one operator"},
		{`{"data":{"a":[{"prefix":1}]}}`, "data.a[0].prefix", "text"},
		{`{"data":{"a":[{"prefix":""}]}}`, "data.a[0].prefix", "at least one character"},
		{`{"data":{"a":[{"prefix":{"suffix":"x"}}]}}`, "data.a[0].prefix", "equals-ignore-case"},
		{`{"data":{"a":[{"exists":"yes"}]}}`, "data.a[0].exists", "true or false"},
		{`{"data":{"a":[{"numeric":[]}]}}`, "data.a[0].numeric", "comparisons"},
		{`{"data":{"a":[{"numeric":["~",1]}]}}`, "data.a[0].numeric[0]", `"<="`},
		{`{"data":{"a":[{"numeric":["=","1"]}]}}`, "data.a[0].numeric[1]", "5e9"},
		{`{"data":{"a":[{"numeric":["=",6e9]}]}}`, "data.a[0].numeric[1]", "5e9"},
		{`{"data":{"a":[{"numeric":[">",5,"<",5]}]}}`, "data.a[0].numeric", "lower bound"},
		{`{"data":{"a":[{"anything-but":[]}]}}`, "data.a[0].anything-but", "at least one"},
		{`{"data":{"a":[{"anything-but":[null]}]}}`, "data.a[0].anything-but[0]", "text or a number"},
		{`{"data":{"a":[{"anything-but":true}]}}`, "data.a[0].anything-but", "text, a number"},
		{`{"data":{"a":[{"anything-but":{"exists":true}}]}}`, "data.a[0].anything-but", "prefix"},
		{`{"data":{"a":[{"wildcard":"a**b"}]}}`, "data.a[0].wildcard", "side by side"},
		{`{"data":{"a":[{"cidr":"10.0.0.0"}]}}`, "data.a[0].cidr", "10.0.0.0/24"},
		{`{"$or":[{"partitionKey":["x"]}]}`, "$or", "two or more"},
		{`{"$or":{"partitionKey":["x"]}}`, "$or", "two or more"},
		{`{"$or":[{"partitionKey":["x"]},"y"]}`, "$or[1]", "an object"},
		{`{"partitionKey":["` + strings.Repeat("x", MaxPatternLength) + `"]}`, "", "4096 characters"},
	} {
		_, err := Compile([]string{`{"partitionKey":["x"]}`, test.pattern})
		var refused *Error
		if !errors.As(err, &refused) {
			t.Errorf("%.60s: %v, want an *Error", test.pattern, err)
			continue
		}
		if refused.Pattern != 1 || refused.Path != test.path || !strings.Contains(refused.Limit, test.limit) || !strings.Contains(err.Error(), "pattern 2") {
			t.Errorf("%.60s is refused with %#v, want the path %q and a limit with %q", test.pattern, refused, test.path, test.limit)
		}
	}
	if _, err := Compile(make([]string, MaxPatterns+1)); err == nil || !strings.Contains(err.Error(), "at most 10") {
		t.Errorf("%d patterns: %v, want an error that names the limit", MaxPatterns+1, err)
	}
}

func TestExplanationsNameWhatDecided(t *testing.T) {
	for _, test := range []struct{ pattern, want string }{
		{`{"data":{"carrier":["BB"]}}`, `data.carrier is "AA", which ["BB"] does not allow`},
		{`{"data":{"carrier":["AA"],"delay":[61]}}`, `data.carrier is "AA", which ["AA"] allows; data.delay is 61, which [61] allows`},
		{`{"data":{"gate":["7"]}}`, `data.gate is absent, which ["7"] does not allow`},
		{`{"$or":[{"partitionKey":["x"]},{"partitionKey":["y"]}]}`, `no object of $or matches: partitionKey is "DFW", which ["x"] does not allow; partitionKey`},
	} {
		f, err := Compile([]string{test.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if v := f.Explain(&flight)[0]; !strings.Contains(v.Why, test.want) {
			t.Errorf("%s: %s\nwant %s", test.pattern, v.Why, test.want)
		}
	}
	f, err := Compile([]string{`{"data":{"a":[1]}}`})
	if err != nil {
		t.Fatal(err)
	}
	if v := f.Explain(&Record{Data: []byte("text")})[0]; v.Match || !strings.Contains(v.Why, "not JSON") {
		t.Errorf("data that are no JSON are explained as %v (%s)", v.Match, v.Why)
	}
}

const benchPattern = `{"data":{"carrier":[{"prefix":"A"}],"delay":[{"numeric":[">",60]}],"legs":{"to":["LHR"]}}}`

// What no record has is warned of, once for each pattern, and explained; what is in data is not known.
func TestWarnings(t *testing.T) {
	f, err := Compile([]string{`{"partitonKey": ["a"], "data": {"x": [1]}, "$or": [{"meta": {"a": [1]}}, {"partitonKey": [{"exists": false}]}]}`,
		`{"partitionKey": ["a"], "sequenceNumber": ["1"], "approximateArrivalTimestamp": [1], "kinesisSchemaVersion": ["1.0"], "data": {"partitonKey": ["a"]}}`,
		`{"` + strings.Repeat("é", 100) + `": [1]}`})
	if err != nil {
		t.Fatal(err)
	}
	const fields = "which no record has: its fields are data, partitionKey, sequenceNumber, approximateArrivalTimestamp and kinesisSchemaVersion"
	want := []string{
		`filter pattern 1 asks for "partitonKey", ` + fields, `filter pattern 1 asks for "meta", ` + fields,
		`filter pattern 3 asks for "` + strings.Repeat("é", maxShown/2) + `…", ` + fields,
	}
	if got := f.Warnings(); !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
	if got := (*Filter)(nil).Warnings(); got != nil {
		t.Errorf("no filter warns of %q", got)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	f, err := Compile([]string{benchPattern, `{"partitionKey":["x"]}`})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { f.Match(&flight) }); n > 0.5 && !raceDetector {
		t.Errorf("a match allocates %v times, want 0", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	f, err := Compile([]string{benchPattern})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(flight.Data)))
	for b.Loop() {
		if !f.Match(&flight) {
			b.Fatal("no match")
		}
	}
}

// FuzzMatch holds that no pattern and no data make a match panic, that Explain agrees with Match, and that a pattern made of a document
// matches the document.
func FuzzMatch(f *testing.F) {
	f.Add(benchPattern, string(flight.Data))
	f.Add(`{"$or":[{"partitionKey":["k"]},{"data":{"a":[{"exists":false}]}}]}`, `{"a":[]}`)
	f.Add(`{"data":{"a":[{"wildcard":"a*\\*b"}]}}`, `{"a":"a\u0041*b"}`)
	f.Fuzz(func(t *testing.T, pattern, data string) {
		r := Record{PartitionKey: []byte("k"), Sequence: 1, Data: []byte(data)}
		if c, err := Compile([]string{pattern}); err == nil {
			if got, told := c.Match(&r), c.Explain(&r)[0]; got != told.Match {
				t.Errorf("%s on %s: Match says %v, Explain %v (%s)", pattern, data, got, told.Match, told.Why)
			}
		}
		var document map[string]string
		if json.Unmarshal(r.Data, &document) != nil || len(document) == 0 || strings.Contains(data, `\ud`) {
			return
		}
		asked := map[string][]string{}
		for k, v := range document {
			if k == orKey {
				return
			}
			asked[k] = []string{v}
		}
		own, err := json.Marshal(map[string]any{"data": asked})
		if err != nil {
			t.Fatal(err)
		}
		c, err := Compile([]string{string(own)})
		if err != nil {
			return // longer than a pattern may be
		}
		if !c.Match(&r) && wholeText(document) {
			t.Errorf("%s does not match %s", own, data)
		}
	})
}

// wholeText is whether a document went through encoding/json unchanged: it replaces what is not UTF-8.
func wholeText(document map[string]string) bool {
	for k, v := range document {
		if strings.ContainsRune(k, '\uFFFD') || strings.ContainsRune(v, '\uFFFD') {
			return false
		}
	}
	return true
}
