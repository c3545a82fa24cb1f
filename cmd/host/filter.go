package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/triggers/filter"
)

func newFilter(a *app) *cobra.Command {
	return group("filter", "Event patterns: try them on events", newFilterTest(a))
}

// filterVerdict is one line of filter test's answer.
type filterVerdict struct {
	Line    int    `json:"line"`
	Pattern int    `json:"pattern"` // from 1 on
	Match   bool   `json:"match"`
	Why     string `json:"why"`
}

func newFilterTest(a *app) *cobra.Command {
	var patterns []string
	var key, file string
	c := &cobra.Command{
		Use:   "test [FILE]",
		Short: "Say of each event which patterns match it, and why",
		Long: "Say of each line of FILE (newline-delimited JSON, gzip is recognized; - or nothing is standard input) which patterns match\n" +
			"a record with that line as its data, and what decided. No host is needed. The patterns are those of Lambda's FilterCriteria.",
		Example: `  shardmill filter test flights.ndjson.gz --pattern '{"data": {"delay": [{"numeric": [">", 60]}]}}'`,
		Args:    arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(patterns) == 0 {
				return usagef("--pattern is needed: the pattern to try; repeatable")
			}
			f, err := filter.Compile(patterns)
			if err != nil {
				return usagef("%v", err)
			}
			if len(args) == 1 {
				if file != "" {
					return usagef("the file is given twice: %q, and %q with --file", args[0], file)
				}
				file = args[0]
			}
			file = cmp.Or(file, "-")
			in, _, err := a.openInput(file)
			if err != nil {
				return err
			}
			defer in.Close()
			events, err := gunzip(in)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			for _, w := range f.Warnings() {
				a.say("warning: %s", printable(w))
			}
			return a.explainEvents(f, events, jsontext.Pointer(keyPointer(key)))
		},
	}
	c.Flags().StringArrayVar(&patterns, "pattern", nil, "event pattern, a JSON object; repeatable, and one that matches is enough")
	c.Flags().StringVar(&file, "file", "", "the events, in place of the argument FILE")
	c.Flags().StringVar(&key, "key", "", "field of each event that is its partition key, or a JSON pointer such as /flight/origin")
	return c
}

// maxEvent is the longest line that filter test takes: as much as any stream's record.
const maxEvent = 10 << 20

// explainEvents writes a verdict for each event and pattern, and a summary for people.
func (a *app) explainEvents(f *filter.Filter, events io.Reader, key jsontext.Pointer) error {
	lines := bufio.NewScanner(events)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent+1)
	total, passed := 0, 0
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		total++
		r := filter.Record{PartitionKey: textAt(lines.Bytes(), key), Sequence: uint64(total), Arrival: time.Now().UnixMicro(), Data: lines.Bytes()}
		passes := false
		for _, v := range f.Explain(&r) {
			passes = passes || v.Match
			if err := a.printVerdict(filterVerdict{Line: total, Pattern: v.Pattern + 1, Match: v.Match, Why: v.Why}, len(f.Patterns()) > 1); err != nil {
				return err
			}
		}
		if passes {
			passed++
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d has more than %d bytes, the most that any stream takes", total+1, maxEvent)
	} else if err != nil {
		return err
	}
	if a.output == outputJSON {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%s of %s\n", thousands(int64(passed)), plural(int64(total), "event passes", "events pass"))
	return err
}

func (a *app) printVerdict(v filterVerdict, many bool) error {
	if a.output == outputJSON {
		return a.printJSON(v)
	}
	var line strings.Builder
	fmt.Fprintf(&line, "%6d  ", v.Line)
	if many {
		fmt.Fprintf(&line, "pattern %d  ", v.Pattern)
	}
	word := "miss "
	if v.Match {
		word = "match"
	}
	_, err := fmt.Fprintf(a.out, "%s%s  %s\n", line.String(), word, printable(v.Why))
	return err
}

// textAt is the text, or the number, true or false, at a pointer of a JSON text; nil when there is none.
func textAt(event []byte, p jsontext.Pointer) []byte {
	if p == "" {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(event), jsontext.AllowDuplicateNames(true))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return nil
		}
		if d.StackPointer() != p || token.Kind() == '{' || token.Kind() == '[' {
			continue
		}
		// A member's name has the pointer of the member too: the value is what comes next.
		if kind, n := d.StackIndex(d.StackDepth()); kind == '{' && n%2 == 1 {
			continue
		}
		return []byte(token.String())
	}
}
