package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json"
)

// converterOf makes the step of an entry of dataProcessingOptions.
func converterOf(t testing.TB, option string) converter {
	t.Helper()
	var err error
	m := &members{err: &err}
	if err := json.Unmarshal([]byte(option), &m.values); err != nil {
		t.Fatal(err)
	}
	c := parseConverter(m)
	if err != nil || len(m.end()) > 0 {
		t.Fatal(err)
	}
	return c
}

// The conversions give what the Amazon Kinesis Agent gives. "" is a record that is left out.
func TestConvert(t *testing.T) {
	const (
		common   = `{"optionName":"LOGTOJSON","logFormat":"COMMONAPACHELOG"}`
		combined = `{"optionName":"LOGTOJSON","logFormat":"COMBINEDAPACHELOG"}`
		failures = `{"optionName":"LOGTOJSON","logFormat":"APACHEERRORLOG"}`
		syslog   = `{"optionName":"LOGTOJSON","logFormat":"SYSLOG"}`
		csv      = `{"optionName":"CSVTOJSON","customFieldNames":["a","b","c"]}`
		access   = `64.242.88.10 - - [07/Mar/2004:16:10:02 -0800] "GET /mailman/listinfo HTTP/1.1" 200 6291`
	)
	for _, c := range []struct{ option, in, want string }{
		{`{"optionName":"SINGLELINE"}`, "{\n  \"a\": 1,\r\n}\n", "{\"a\": 1,}\n"},
		{`{"optionName":"SINGLELINE","parseOptions":["NO_TRIM"]}`, "a \n b\n", "a  b\n"},
		{`{"optionName":"SINGLELINE","parseOptions":["ESCAPE_NEW_LINE"]}`, "a\nb\n", `a\\nb` + "\n"},
		{csv, "1,2,3\n", `{"a":"1","b":"2","c":"3"}` + "\n"},
		{csv, "1\n", `{"a":"1","b":null,"c":null}` + "\n"},
		{csv, "1,,3,4\n", `{"a":"1","b":"","c":"3"}` + "\n"},
		{csv, "1,,\n", `{"a":"1","b":null,"c":null}` + "\n"},
		{csv, "\n", `{"a":"","b":null,"c":null}` + "\n"},
		{csv, `"x",\` + "\x01\n", `{"a":"\"x\"","b":"\\\u0001","c":null}` + "\n"},
		{csv, "caf\xe9,\n", `{"a":"caf` + "\uFFFD" + `","b":null,"c":null}` + "\n"},
		{`{"optionName":"CSVTOJSON","customFieldNames":["a","b"],"delimiter":"\\t"}`, "1\t2\n", `{"a":"1","b":"2"}` + "\n"},
		{`{"optionName":"CSVTOJSON","customFieldNames":["a","b"],"delimiter":"\\|","jsonFormat":"PRETTYPRINT"}`, "1|2", "{\n  \"a\" : \"1\",\n  \"b\" : \"2\"\n}\n"},
		{common, access + "\n", `{"host":"64.242.88.10","ident":null,"authuser":null,"datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo HTTP/1.1","response":"200","bytes":"6291"}` + "\n"},
		{common, access + ` more`, `{"host":"64.242.88.10","ident":null,"authuser":null,"datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo HTTP/1.1","response":"200","bytes":"6291"}` + "\n"},
		{common, "no access log\n", ""},
		{combined, access + "\n", ""},
		{combined, access + ` "http://x/" "Mozilla/5.0 (X11)"` + "\n", `{"host":"64.242.88.10","ident":null,"authuser":null,"datetime":"07/Mar/2004:16:10:02 -0800","request":"GET /mailman/listinfo HTTP/1.1","response":"200","bytes":"6291","referer":"http://x/","agent":"Mozilla/5.0 (X11)"}` + "\n"},
		{failures, "[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 4328636416] [client 72.15.99.187:443] File does not exist\n", `{"timestamp":"Fri Sep 09 10:42:29.902022 2011","module":"core","severity":"error","processid":"35708","threadid":"4328636416","client":"72.15.99.187:443","message":"File does not exist"}` + "\n"},
		{failures, "[Fri Sep 09 10:42:29 2011] [error] [pid 1] [client ::1] m\n", `{"timestamp":"Fri Sep 09 10:42:29 2011","module":null,"severity":"error","processid":"1","threadid":null,"client":"::1","message":"m"}` + "\n"},
		{syslog, "Mar 12 12:00:08 server2 rcd[308]: Loaded 12 packages\n", `{"timestamp":"Mar 12 12:00:08","hostname":"server2","program":"rcd","processid":"308","message":"Loaded 12 packages"}` + "\n"},
		{syslog, "Mar  2 12:00:08 <1.2> server2 kernel: -\n", `{"timestamp":"Mar  2 12:00:08","hostname":"server2","program":"kernel","processid":null,"message":"-"}` + "\n"},
		{`{"optionName":"LOGTOJSON","logFormat":"RFC3339SYSLOG"}`, "2016-06-06T22:32:41.123Z h p[1]: m\n", `{"timestamp":"2016-06-06T22:32:41.123Z","hostname":"h","program":"p","processid":"1","message":"m"}` + "\n"},
		{`{"optionName":"LOGTOJSON","logFormat":"SYSLOG","customFieldNames":["t","h","p","i","m"]}`, "Mar 12 12:00:08 h p: m\n", `{"t":"Mar 12 12:00:08","h":"h","p":"p","i":null,"m":"m"}` + "\n"},
		{`{"optionName":"LOGTOJSON","logFormat":"COMMONAPACHELOG","matchPattern":"(?<k>\\w+)=(.*)","customFieldNames":["k","v"]}`, "a=-\n", `{"k":"a","v":null}` + "\n"},
		{`{"optionName":"LOGTOJSON","logFormat":"COMMONAPACHELOG","matchPattern":"a=(.*)","customFieldNames":["v"]}`, "xa=1\n", ""},
		{`{"optionName":"ADDMETADATA","metadata":{"b": 1, "a":[ ]}}`, "x\"\n", `{"metadata":{"b":1,"a":[]},"data":"x\""}` + "\n"},
		{`{"optionName":"ADDMETADATA"}`, "x", `{"metadata":null,"data":"x"}` + "\n"},
		{`{"optionName":"ADDBRACKETS"}`, `"a":1`, `{"a":1}`},
	} {
		got, err := converterOf(t, c.option)([]byte(c.in))
		if c.want == "" && !errors.Is(err, errSkip) || string(got) != c.want {
			t.Errorf("%s of %q: %q, %v; want %q", c.option, c.in, got, err, c.want)
		}
	}
}

func TestAddTimestamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, err := converterOf(t, `{"optionName":"ADDMETADATA","metadata":"m","timestamp":"true"}`)([]byte("x\n"))
		if want := `{"ts":"2000-01-01T00:00:00.000Z","metadata":"m","data":"x"}` + "\n"; string(got) != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	})
}

// Steps run one after the other; the first that fails ends them.
func TestConvertChain(t *testing.T) {
	steps := []converter{
		converterOf(t, `{"optionName":"CSVTOJSON","customFieldNames":["a"]}`),
		func(data []byte) ([]byte, error) {
			if strings.Contains(string(data), "bad") {
				return nil, errors.New("bad")
			}
			return append([]byte("> "), data...), nil
		},
	}
	if got, err := convert(steps, []byte("x\n")); string(got) != "> {\"a\":\"x\"}\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := convert(steps, []byte("bad\n")); got != nil || err == nil {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzConvert converts lines as they may stand in any log: what comes out is one line of JSON with a member for each name.
func FuzzConvert(f *testing.F) {
	options := []string{
		`{"optionName":"CSVTOJSON","customFieldNames":["a","b","c"]}`,
		`{"optionName":"LOGTOJSON","logFormat":"COMMONAPACHELOG"}`,
		`{"optionName":"LOGTOJSON","logFormat":"COMBINEDAPACHELOG"}`,
		`{"optionName":"LOGTOJSON","logFormat":"APACHEERRORLOG"}`,
		`{"optionName":"LOGTOJSON","logFormat":"SYSLOG"}`,
		`{"optionName":"LOGTOJSON","logFormat":"RFC3339SYSLOG"}`,
		`{"optionName":"LOGTOJSON","logFormat":"SYSLOG","matchPattern":"^(\\S*) (.*)$","customFieldNames":["a","b"]}`,
		`{"optionName":"ADDMETADATA","metadata":{"a":{"b":1}},"timestamp":"true"}`,
	}
	var steps []converter
	for _, option := range options {
		steps = append(steps, converterOf(f, option))
	}
	lines := converterOf(f, `{"optionName":"SINGLELINE"}`)
	for _, line := range []string{
		"1,2,3\n", `64.242.88.10 - - [07/Mar/2004:16:10:02 -0800] "GET / HTTP/1.1" 200 6291 "r" "a"`, "[Fri Sep 09 10:42:29 2011] [error] [pid 1] [client ::1] m\n",
		"Mar 12 12:00:08 server2 rcd[308]: Loaded\n", "2016-06-06T22:32:41.123Z h p[1]: m\n", "\xff\x00,\"\\\n\n", "",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		was := string(data)
		for i, step := range steps {
			out, err := convert([]converter{step}, data)
			var members map[string]any
			if err == nil && (json.Unmarshal(out, &members) != nil || len(members) < 2 || strings.Count(string(out), "\n") != 1) {
				t.Fatalf("%s makes %q of %q", options[i], out, data)
			}
			if string(data) != was {
				t.Fatalf("%s changes what it reads", options[i])
			}
		}
		if out, err := lines(data); err != nil || strings.Count(string(out), "\n") != 1 {
			t.Fatalf("a single line of %q is %q, %v", data, out, err)
		}
	})
}
