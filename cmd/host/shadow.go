package main

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
)

func newMappingShadow(a *app) *cobra.Command {
	return group("shadow", "A version that is tried beside the one that serves: set, describe, delete",
		a.completing(newShadowSet(a), mappingNames), a.completing(newShadowDescribe(a), mappingNames), a.completing(newShadowDelete(a), mappingNames))
}

func newShadowSet(a *app) *cobra.Command {
	var config api.ShadowConfig
	var startingTime string
	c := &cobra.Command{
		Use:   "set MAPPING",
		Short: "Try another version beside the one that serves: it emits nothing, and what it would have is compared",
		Long: "Try another version of the mapping's function, or another function, beside the one that serves. It reads the same shards, with\n" +
			"checkpoints of its own, and emits nothing; each batch is given to both versions, and what they come to is compared.\n" +
			"The same again changes nothing; with other settings it is another shadow, which begins anew.",
		Example: "  shardmill mapping shadow set flight-delays --qualifier 4\n" +
			"  shardmill mapping shadow set flight-delays --function delays-in-rust --starting-position oldest",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if config.Function == "" && config.Qualifier == "" {
				return usagef("a shadow needs --qualifier or --function: what is to be tried")
			}
			if startingTime != "" {
				t, err := parseWhen(startingTime, time.Now())
				if err != nil {
					return err
				}
				config.StartingTime = t
				config.StartingPosition = cmp.Or(config.StartingPosition, "timestamp")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s, _, err := client.PutShadow(cmd.Context(), args[0], config)
			if err != nil {
				return err
			}
			return a.printShadow(args[0], &s)
		},
	}
	flags := c.Flags()
	flags.StringVar(&config.Function, "function", "", "the function to try (default: the mapping's)")
	flags.StringVar(&config.Qualifier, "qualifier", "", "the version to try: its number, or an alias (default $LATEST)")
	flags.StringVar(&config.StartingPosition, "starting-position", "", "where to begin: oldest, newest or timestamp (default newest)")
	flags.StringVar(&startingTime, "starting-time", "", "begin with records that arrived at a time (2026-01-02T15:04:05Z) or so long ago (15m)")
	flags.BoolVar(&config.HTTP, "http", false, "make the GET and HEAD requests of both versions; otherwise none is made")
	a.completingFlag(c, "function", functionNames)
	return c
}

func newShadowDescribe(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe MAPPING",
		Short: "Show what a shadow has found: how much is identical, what differs, latency and cost",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.Shadow(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printShadow(args[0], &s)
		},
	}
}

func newShadowDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete MAPPING",
		Short: "Remove a mapping's shadow, with its checkpoints and tables",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteShadow(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.printDeleted("shadow of mapping", args[0])
		},
	}
}

func newMappingPromote(a *app) *cobra.Command {
	var id string
	c := &cobra.Command{
		Use:   "promote NAME",
		Short: "Have a mapping's shadow serve from the next batch on; the shadow is gone then",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			m, err := client.PromoteShadow(cmd.Context(), args[0], id)
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
	c.Flags().StringVar(&id, "shadow", "", "the id of the shadow that is meant; another one is not promoted (default: whichever it is)")
	return c
}

// percent is a share for people. What is not all is never shown as all.
func percent(share float64) string {
	text := strconv.FormatFloat(100*share, 'f', 2, 64)
	if share < 1 && text == "100.00" {
		text = "99.99"
	}
	return text + " %"
}

// shadowLine says in short what a mapping's shadow is and has found.
func shadowLine(s *api.Shadow) string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%s: %s identical over %s records", because(s.Function, s.Qualifier), percent(s.Identical), thousands(int64(s.Records)))
}

func (a *app) printShadow(mapping string, s *api.Shadow) error {
	results := s.Same + s.Changed + s.Missing + s.Extra
	requests := "not made"
	if s.HTTP {
		requests = "GET and HEAD"
	}
	if s.Refused > 0 {
		requests += fmt.Sprintf(" (%s others refused)", thousands(int64(s.Refused)))
	}
	err := a.printFields(s,
		[2]string{"Shadow of", mapping},
		[2]string{"ID", s.ID},
		[2]string{"State", because(s.State, s.Reason)},
		[2]string{"Function", because(s.Function, s.Qualifier)},
		[2]string{"Starts at", s.StartingPosition},
		[2]string{"HTTP requests", requests},
		[2]string{"Compared", fmt.Sprintf("%s records in %s calls, %s of them without a difference", thousands(int64(s.Records)), thousands(int64(s.Calls)), thousands(int64(s.SameCalls)))},
		[2]string{"Identical", fmt.Sprintf("%s of %s results", percent(s.Identical), thousands(int64(results)))},
		[2]string{"Different", fmt.Sprintf("%s changed, %s missing, %s extra", thousands(int64(s.Changed)), thousands(int64(s.Missing)), thousands(int64(s.Extra)))},
	)
	if err != nil || a.output == outputJSON {
		return err
	}
	sides := newTable("", "SERVING>", "SHADOW>")
	row := func(name string, of func(*api.ShadowSide) string) { sides.add(name, of(&s.Serving), of(&s.Candidate)) }
	row("version", func(s *api.ShadowSide) string { return strconv.Itoa(s.Version) })
	row("calls", func(s *api.ShadowSide) string { return thousands(int64(s.Calls)) })
	row("failed", func(s *api.ShadowSide) string { return thousands(int64(s.Failed)) })
	row("mean", func(s *api.ShadowSide) string { return s.Mean.String() })
	row("p50", func(s *api.ShadowSide) string { return s.P50.String() })
	row("p99", func(s *api.ShadowSide) string { return s.P99.String() })
	row("fuel per record", func(s *api.ShadowSide) string {
		if s.FuelPerRecord == 0 {
			return "-" // there were no records
		}
		return thousands(int64(s.FuelPerRecord))
	})
	shards := newTable("SHARD", "STATE", "CHECKPOINT>", "ITERATOR AGE>", "LAST ERROR")
	for _, s := range s.Shards {
		checkpoint := "-"
		if s.Checkpoint != 0 {
			checkpoint = s.Checkpoint.String()
		}
		shards.add(s.Shard, s.State, checkpoint, shortDuration(time.Duration(s.IteratorAge)), printable(s.LastError))
	}
	tables := []*table{sides, shards}
	if len(s.Differences) > 0 {
		tables = append(tables, differences(s.Differences))
	}
	for _, t := range tables {
		if _, err := a.out.Write([]byte("\n")); err != nil {
			return err
		}
		if err := t.write(a.out); err != nil {
			return err
		}
	}
	if more := len(s.Differences) - maxRows; more > 0 {
		_, err = fmt.Fprintf(a.out, "… and %d more: --output json shows them\n", more)
	}
	return err
}

// differences shows the results that differ side by side.
func differences(list []api.ShadowDifference) *table {
	t := newTable("SHARD", "RECORD>", "WHAT", "STREAM", "KEY", "SERVING", "SHADOW")
	for i := range list[:min(len(list), maxRows)] {
		d := &list[i]
		at := "end of a window"
		switch {
		case d.First != d.Last:
			at = d.First.String() + "-" + d.Last.String()
		case d.First != 0:
			at = d.First.String()
		}
		t.add(d.Shard, at, d.What, cmp.Or(d.Stream, "-"), cmp.Or(printable(d.Key), "-"), sideOf(d.Old), sideOf(d.New))
	}
	return t
}

// What a table shows; --output json has all that is kept.
const (
	maxRows = 20
	maxCell = 120 // bytes of a value
)

func sideOf(v *api.ShadowValue) string {
	if v == nil {
		return "-"
	}
	b := v.Bytes()
	if len(b) > maxCell {
		return printable(string(b[:maxCell])) + "…"
	}
	return printable(string(b))
}
