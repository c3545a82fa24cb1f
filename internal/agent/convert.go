package agent

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/internal/field"
)

// converter is one step of dataProcessingOptions. Errors: errSkip, the record is left out; any other, the record goes on as it was read.
type converter func(data []byte) ([]byte, error)

// errSkip says that a record does not have the form that was asked for, and is left out.
var errSkip = errors.New("the record does not match the log format")

// convert runs the steps one after the other. When one fails, the whole record stays as it was read.
func convert(steps []converter, data []byte) ([]byte, error) {
	for _, step := range steps {
		var err error
		if data, err = step(data); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// parseConverter makes the step of one entry of dataProcessingOptions.
func parseConverter(m *members) converter {
	const limit = "SINGLELINE, CSVTOJSON, LOGTOJSON, ADDMETADATA or ADDBRACKETS"
	switch option := m.text("optionName", ""); option {
	case "SINGLELINE":
		options := m.texts("parseOptions")
		return singleLine(slices.Contains(options, "NO_TRIM"), slices.Contains(options, "ESCAPE_NEW_LINE"))
	case "CSVTOJSON":
		names := m.texts("customFieldNames")
		if len(names) == 0 {
			m.fail("customFieldNames", "", "the names of the columns")
		}
		delimiter := m.text("delimiter", ",")
		re, err := regexp.Compile(delimiter)
		if err != nil || delimiter == "" {
			m.fail("delimiter", delimiter, "a regular expression of RE2")
		}
		return csvToJSON(re, names, printer(m))
	case "LOGTOJSON":
		return parseLogFormat(m)
	case "ADDMETADATA":
		return addMetadata(m.value("metadata"), m.text("timestamp", "") == "true", printer(m))
	case "ADDBRACKETS":
		return func(data []byte) ([]byte, error) { return slices.Concat([]byte("{"), data, []byte("}")), nil }
	default:
		m.fail("optionName", option, limit)
		return nil
	}
}

// printer says how the JSON of a step looks: false is compact.
func printer(m *members) (pretty bool) {
	return m.choice("jsonFormat", "COMPACT", "COMPACT", "PRETTYPRINT") == "PRETTYPRINT"
}

// pair is one member of the JSON that a step makes; a nil value is null.
type pair struct {
	name  string
	value jsontext.Value
}

func quoted(text string) jsontext.Value {
	q, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		q, _ = jsontext.AppendQuote(nil, strings.ToValidUTF8(text, "\uFFFD"))
	}
	return q
}

// object writes members in order, and a line break.
func object(pairs []pair, pretty bool) []byte {
	open, between, colon, shut := "{", ",", ":", "}\n"
	if pretty {
		open, between, colon, shut = "{\n  ", ",\n  ", " : ", "\n}\n"
	}
	b := []byte(open)
	for i, p := range pairs {
		if i > 0 {
			b = append(b, between...)
		}
		b = append(append(b, quoted(p.name)...), colon...)
		if p.value == nil {
			p.value = jsontext.Value("null")
		}
		b = append(b, p.value...)
	}
	return append(b, shut...)
}

func withoutBreak(data []byte) string { return string(bytes.TrimSuffix(data, []byte("\n"))) }

// singleLine joins the lines of a record.
func singleLine(keepSpace, escape bool) converter {
	between := ""
	if escape {
		between = `\\n`
	}
	return func(data []byte) ([]byte, error) {
		lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
		if !keepSpace {
			for i, line := range lines {
				lines[i] = strings.TrimFunc(line, func(r rune) bool { return r <= ' ' })
			}
		}
		return []byte(strings.Join(lines, between) + "\n"), nil
	}
}

// csvToJSON names the columns; those that are missing are null. There are no quotes around columns, as in the Amazon Kinesis Agent.
func csvToJSON(delimiter *regexp.Regexp, names []string, pretty bool) converter {
	return func(data []byte) ([]byte, error) {
		columns := delimiter.Split(withoutBreak(data), -1)
		for len(columns) > 1 && columns[len(columns)-1] == "" {
			columns = columns[:len(columns)-1] // as Java's split does
		}
		pairs := make([]pair, len(names))
		for i, name := range names {
			pairs[i].name = name
			if i < len(columns) {
				pairs[i].value = quoted(columns[i])
			}
		}
		return object(pairs, pretty), nil
	}
}

// addMetadata puts the record as text beside what the configuration says.
func addMetadata(metadata jsontext.Value, timestamp, pretty bool) converter {
	return func(data []byte) ([]byte, error) {
		var pairs []pair
		if timestamp {
			pairs = append(pairs, pair{"ts", quoted(time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))})
		}
		return object(append(pairs, pair{"metadata", metadata}, pair{"data", quoted(withoutBreak(data))}), pretty), nil
	}
}

// logFormat is one of the formats that LOGTOJSON knows by name.
type logFormat struct {
	pattern string
	fields  []string
	dash    bool // "-" stands for nothing
}

const (
	month     = `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*`
	weekday   = `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*`
	clockTime = `\d{1,2}:\d{2}:\d{2}(?:[.,:]\d+)?`

	// host ident user [day/month/year:time zone] "request" status bytes
	commonLog = `([\w.:-]+) ([\w.@-]+) ([\w.@-]+) \[(\d{1,2}/` + month + `/\d+:` + clockTime + ` [+-]?\d+)\] "([^"]+)" (\d+|-) (\d+|-)`
	// … and behind the time: host, perhaps <facility.priority>, program[pid]: message
	syslogRest = ` (?:<\d+\.\d+> )?([\w.-]+) ([\w./%-]+)(?:\[(\d+)\])?: (.*)`
)

var (
	commonFields = []string{"host", "ident", "authuser", "datetime", "request", "response", "bytes"}
	syslogFields = []string{"timestamp", "hostname", "program", "processid", "message"}

	logFormats = map[string]logFormat{
		"COMMONAPACHELOG":   {commonLog + `.*`, commonFields, true},
		"COMBINEDAPACHELOG": {commonLog + ` "([^"]+)" "([^"]+)".*`, append(slices.Clone(commonFields), "referer", "agent"), true},
		"APACHEERRORLOG": {
			`\[(` + weekday + `\s+` + month + `\s+\d{1,2}\s+` + clockTime + `\s+\d+)\] \[(?:(\w+):)?(\w+)\] \[pid (\d+)(?::tid (\d+))?\] \[client ([\w.:-]+)\] (.*)`,
			[]string{"timestamp", "module", "severity", "processid", "threadid", "client", "message"}, true,
		},
		"SYSLOG":        {`(` + month + `\s+\d{1,2}\s+` + clockTime + `)` + syslogRest, syslogFields, false},
		"RFC3339SYSLOG": {`(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2}))` + syslogRest, syslogFields, false},
	}
)

// parseLogFormat makes the step LOGTOJSON. matchPattern takes the place of the format's own, and customFieldNames of its names.
func parseLogFormat(m *members) converter {
	format, known := logFormats[m.text("logFormat", "")]
	names := m.texts("customFieldNames")
	match := m.text("matchPattern", "")
	pretty := printer(m)
	if !known {
		m.fail("logFormat", "", "COMMONAPACHELOG, COMBINEDAPACHELOG, APACHEERRORLOG, SYSLOG or RFC3339SYSLOG")
		return nil
	}
	if match == "" {
		match = format.pattern
	} else if names == nil {
		m.fail("customFieldNames", "", "the names of what matchPattern finds")
	}
	if names == nil {
		names = format.fields
	}
	re, err := regexp.Compile(`\A(?:` + match + `)\z`)
	if err != nil {
		m.fail("matchPattern", match, "a regular expression of RE2, without look-around and back-references")
		return nil
	}
	if re.NumSubexp() != len(names) && *m.err == nil {
		*m.err = &field.Error{Field: m.path + "customFieldNames", Problem: "are not as many as there are groups in the pattern"}
	}
	return logToJSON(re, names, format.dash, pretty)
}

func logToJSON(re *regexp.Regexp, names []string, dash, pretty bool) converter {
	return func(data []byte) ([]byte, error) {
		line := withoutBreak(data)
		found := re.FindStringSubmatchIndex(line)
		if found == nil {
			return nil, errSkip
		}
		pairs := make([]pair, len(names))
		for i, name := range names {
			pairs[i].name = name
			from, to := found[2*i+2], found[2*i+3]
			if from >= 0 && !(dash && line[from:to] == "-") {
				pairs[i].value = quoted(line[from:to])
			}
		}
		return object(pairs, pretty), nil
	}
}
