package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// tally adds up what a function emitted to one stream: per partition key, the sum of each numeric top-level field of
// the JSON records. Records that are no JSON objects are counted in plain.
type tally struct {
	stream  string
	columns []tallyColumn // what to show; empty shows every field
	keyName string        // the field that repeats the partition key, or "key"
	fields  []string      // numeric fields in the order they were first seen
	rows    map[string]*tallyRow
	records int64
	plain   int64
}

type tallyRow struct {
	key     string
	records int64
	sums    map[string]float64
}

func newTally(stream string, columns []tallyColumn) *tally {
	return &tally{stream: stream, columns: columns, rows: make(map[string]*tallyRow)}
}

// add counts one record.
func (t *tally) add(key string, data []byte) {
	t.records++
	row := t.rows[key]
	if row == nil {
		row = &tallyRow{key: key, sums: make(map[string]float64)}
		t.rows[key] = row
	}
	row.records++
	keyField := ""
	err := objectFields(data, func(name string, value any) {
		switch v := value.(type) {
		case float64:
			if _, seen := row.sums[name]; !seen && !slices.Contains(t.fields, name) {
				t.fields = append(t.fields, name)
			}
			row.sums[name] += v
		case string:
			if v == key && keyField == "" {
				keyField = name
			}
		}
	})
	if err != nil {
		t.plain++
		return
	}
	if t.keyName == "" {
		t.keyName = keyField
	}
}

var errNotObject = errors.New("not a JSON object")

// objectFields calls f for each top-level field of a JSON object, in order.
func objectFields(data []byte, f func(name string, value any)) error {
	if !json.Valid(data) {
		return errNotObject
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return errNotObject
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return err
		}
		f(name.(string), value)
	}
	return nil
}

// shown is the columns to show and the rows, those with the greatest first column first.
func (t *tally) shown() ([]tallyColumn, []*tallyRow) {
	columns := t.columns
	if len(columns) == 0 {
		for _, f := range t.fields {
			columns = append(columns, tallyColumn{name: f, num: f})
		}
	}
	if len(columns) == 0 {
		columns = []tallyColumn{recordCount}
	}
	rows := make([]*tallyRow, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *tallyRow) int {
		return cmp.Or(cmp.Compare(b.value(columns[0]), a.value(columns[0])), cmp.Compare(a.key, b.key))
	})
	return columns, rows
}

// recordCount is the column that counts the records themselves.
var recordCount = tallyColumn{name: "records"}

// value is NaN for a ratio whose denominator is 0.
func (r *tallyRow) value(c tallyColumn) float64 {
	if c == recordCount {
		return float64(r.records)
	}
	if c.den == "" {
		return r.sums[c.num]
	}
	if r.sums[c.den] == 0 {
		return math.NaN()
	}
	return r.sums[c.num] / r.sums[c.den]
}

func (t *tally) key() string { return cmp.Or(t.keyName, "key") }

// writeTable writes at most limit rows (0: all) and says how many it left out.
func (t *tally) writeTable(w io.Writer, limit int) error {
	columns, rows := t.shown()
	headings := []string{heading(t.key())}
	for _, c := range columns {
		headings = append(headings, heading(c.name)+">")
	}
	shown := rows
	if limit > 0 && len(rows) > limit {
		shown = rows[:limit]
	}
	out := newTable(headings...)
	for _, r := range shown {
		cells := []string{r.key}
		for _, c := range columns {
			cells = append(cells, number(r.value(c)))
		}
		out.add(cells...)
	}
	if err := out.write(w); err != nil {
		return err
	}
	if left := len(rows) - len(shown); left > 0 {
		_, err := fmt.Fprintf(w, "… and %s more (--rows 0 shows all)\n", thousands(int64(left)))
		return err
	}
	return nil
}

// writeJSON writes one object a row: the key, the records counted, every column and every sum behind one. The stream
// is named when more than one is shown.
func (t *tally) writeJSON(w io.Writer, nameStream bool) error {
	columns, rows := t.shown()
	columns = slices.Clone(columns)
	include := func(c tallyColumn) {
		if c.name != "" && !slices.ContainsFunc(columns, func(have tallyColumn) bool { return have.name == c.name }) {
			columns = append(columns, c)
		}
	}
	for _, c := range slices.Clone(columns) {
		include(tallyColumn{name: c.num, num: c.num})
		include(tallyColumn{name: c.den, num: c.den})
	}
	include(recordCount)
	var b bytes.Buffer
	field := func(name string, value any) {
		k, _ := json.Marshal(name)
		v, err := json.Marshal(value)
		if err != nil { // NaN: no mean of nothing
			v = []byte("null")
		}
		if b.Bytes()[b.Len()-1] != '{' {
			b.WriteByte(',')
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	for _, r := range rows {
		b.WriteByte('{')
		if nameStream {
			field("stream", t.stream)
		}
		field(t.key(), r.key)
		for _, c := range columns {
			field(c.name, r.value(c))
		}
		b.WriteString("}\n")
	}
	_, err := b.WriteTo(w)
	return err
}

// heading turns a field's name into a column's: meanDelayMinutes is MEAN DELAY MINUTES.
func heading(name string) string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		switch {
		case r == '_' || r == '-':
			b.WriteByte(' ')
			lower = false
			continue
		case unicode.IsUpper(r) && lower:
			b.WriteByte(' ')
		}
		lower = !unicode.IsUpper(r)
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// number writes whole numbers with separators, others with two decimals, and no number as a dash.
func number(f float64) string {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return "-"
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return thousands(int64(f))
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}
