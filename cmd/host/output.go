package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
)

// table is rows of text under headings. A heading that ends in ">" has its column aligned to the right.
type table struct {
	headings []string
	rows     [][]string
}

func newTable(headings ...string) *table { return &table{headings: headings} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.headings))
	right := make([]bool, len(t.headings))
	headings := make([]string, len(t.headings))
	for i, h := range t.headings {
		headings[i], right[i] = strings.CutSuffix(h, ">")
		widths[i] = utf8.RuneCountInString(headings[i])
	}
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	writeRow(&b, headings, widths, right)
	for _, row := range t.rows {
		writeRow(&b, row, widths, right)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRow(b *strings.Builder, cells []string, widths []int, right []bool) {
	for i, cell := range cells {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		switch {
		case right[i]:
			b.WriteString(pad + cell)
		case i == len(cells)-1:
			b.WriteString(cell)
		default:
			b.WriteString(cell + pad)
		}
		if i < len(cells)-1 {
			b.WriteString("  ")
		}
	}
	b.WriteByte('\n')
}

// printJSON writes v as one line of JSON.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printItems writes items as --output asks: one JSON object a line, or a table with one row each.
func printItems[T any](a *app, items []T, headings []string, row func(T) []string) error {
	if a.output == outputJSON {
		for _, item := range items {
			if err := a.printJSON(item); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(headings...)
	for _, item := range items {
		t.add(row(item)...)
	}
	return t.write(a.out)
}

// printFields writes v as one line of JSON, or as lines of name and value.
func (a *app) printFields(v any, fields ...[2]string) error {
	if a.output == outputJSON {
		return a.printJSON(v)
	}
	width := 0
	for _, f := range fields {
		width = max(width, utf8.RuneCountInString(f[0])+1)
	}
	for _, f := range fields {
		if _, err := fmt.Fprintf(a.out, "%-*s  %s\n", width, f[0]+":", f[1]); err != nil {
			return err
		}
	}
	return nil
}

// say writes one line for a person to standard error. A progress bar gives way to it and comes back with its next move.
func (a *app) say(format string, args ...any) {
	if bar := a.bar.Load(); bar != nil {
		_ = bar.Clear()
	}
	fmt.Fprintf(a.err, format+"\n", args...)
}

// thousands writes n with separators: 20,000.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// byteSize writes n bytes in the largest binary unit that fits: 3.2 MiB.
func byteSize(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// shortDuration rounds d to what a person reads: 37ms, 1.24s, 3m12s.
func shortDuration(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(time.Millisecond)
	default:
		d = d.Round(time.Microsecond)
	}
	return d.String()
}

// shortTime is t for a table; the zero time is a dash.
func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
